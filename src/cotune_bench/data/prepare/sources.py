"""Where the files of every data set are, as published by their authors or copied since."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file that a data set is made from.

    Attributes:
        to: the file or folder it becomes, relative to ``data.root``.
        url: where it is downloaded from; its last part is the name of the file.
        name: of a file that must be downloaded manually; with ``*``, the parts of one archive.
        where: such a file is found.
        md5: of the file, "" if none is published.
        holds: the folder in the archive that becomes ``to``; "" for all of it, None if the file is not an archive.
        lists: md5 of files in that folder, for archives that are packed on request and have no hash of their own.
    """

    to: str
    url: str = ""
    name: str = ""
    where: str = ""
    md5: str = ""
    holds: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the file, or the pattern of its parts."""
        return self.name or self.url.rpartition("/")[2]


_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_HUGGING_FACE = "https://huggingface.co/datasets/torchgeo/eurosat"  # the copy that torchvision uses
_KAGGLE = "Kaggle, jessicali9530/stanford-cars-dataset (unpacked)"
_THREAD = "github.com/pytorch/vision/issues/7545"
_CLOTHING = "11961516512414bf9f6c150a832cfd21b54a6b54"
_GROCERY = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"
_LABELS = "cars_test_annos_withlabels.mat"

SOURCES: dict[str, tuple[Source, ...]] = {
    "cub": (
        Source(
            url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            md5="97eceeb196236b17998738112f37df78",
            to=".",
            holds="CUB_200_2011",
        ),
    ),
    "aircraft": (
        Source(
            url=f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            md5="d4acdd33327262359767eeaa97a4f732",
            to=".",
            holds="fgvc-aircraft-2013b",
        ),
    ),
    "flowers": (
        Source(
            url=f"{_VGG}/flowers/102/102flowers.tgz", md5="52808999861908f626f3c1f4e79d11fa", to="jpg", holds="jpg"
        ),
        Source(
            url=f"{_VGG}/flowers/102/imagelabels.mat", md5="e0620be6f572b9609742df49c70aed4d", to="imagelabels.mat"
        ),
        Source(url=f"{_VGG}/flowers/102/setid.mat", md5="a5357ecc9cb78c4bef273ce3793fc85c", to="setid.mat"),
    ),
    "cifar100": (
        Source(
            url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            to="cifar-100-binary",
            holds="cifar-100-binary",
        ),
    ),
    "indoors": (
        Source(
            url="http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar", to="Images", holds="Images"
        ),
        Source(url="https://web.mit.edu/torralba/www/TrainImages.txt", to="TrainImages.txt"),
        Source(url="https://web.mit.edu/torralba/www/TestImages.txt", to="TestImages.txt"),
    ),
    "eurosat": (
        Source(
            url=f"{_HUGGING_FACE}/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            md5="c8fa014336c82ac7804f0398fcb19387",
            to="2750",
            holds="2750",
        ),
    ),
    "dmlab": (Source(url="https://storage.googleapis.com/dmlab-vtab/dmlab.tar.gz", to="records", holds=""),),
    "cars": (
        Source(
            name="cars_train.tgz",
            where=_KAGGLE,
            md5="065e5b463ae28d29e77c1b4b166cfe61",
            to="cars_train",
            holds="cars_train",
        ),
        Source(
            name="cars_test.tgz",
            where=_KAGGLE,
            md5="4ce7ebf6a94d07f1952d94dd34c4d501",
            to="cars_test",
            holds="cars_test",
        ),
        Source(
            name="car_devkit.tgz", where=_THREAD, md5="c3b158d763b6e2245038c8ad08e45376", to="devkit", holds="devkit"
        ),
        Source(
            name=_LABELS, where=f"{_THREAD}, comment 1631441616", md5="b0a2b23655a3edd16d84508592a98d10", to=_LABELS
        ),
    ),
    "clothing": (
        Source(
            url=f"https://github.com/alexeygrigorev/clothing-dataset-small/archive/{_CLOTHING}/clothing-dataset-small.zip",
            to=".",
            holds=f"clothing-dataset-small-{_CLOTHING}",
        ),
    ),
    "grocery": (
        Source(
            url=f"https://github.com/marcusklasson/GroceryStoreDataset/archive/{_GROCERY}/GroceryStoreDataset.zip",
            to=".",
            holds="dataset",
            lists={
                "classes.csv": "f8a7c2ab69ab6f72e5bbd4c8e1074f8e",
                "train.txt": "ba5344e29fcde0f64314ab72d50207f4",
                "val.txt": "1fdb8e38d24b5c27662825b3b550a604",
                "test.txt": "70d217bd642264731710387c9d4108a0",
            },
        ),
    ),
    "sketches": (
        Source(
            url="http://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_png.zip",
            to="png",
            holds="png",
        ),
    ),
    "wikiart": (
        Source(
            name="wikiart.zip",
            where="github.com/cs-chan/ArtGAN (WikiArt Dataset, Google Drive)",
            to=".",
            holds="wikiart",
        ),
        Source(url="http://web.fsktm.um.edu.my/~cschan/source/ICIP2017/wikiart_csv.zip", to="wikiart_csv", holds=""),
    ),
    "coco70": (
        Source(
            name="COCO70_splita*", where="https://cloud.tsinghua.edu.cn/d/b364038fd4544530bc08/", to=".", holds=""
        ),
    ),
}
