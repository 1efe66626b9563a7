"""Values of records of earlier schemas as those of today's."""

#: Fields that records of schema 1 lack, with the values that they are read as.
SINCE_2 = {"correct": "", "test_sha256": ""}


def upgraded_values(values: dict, schema: int) -> dict:
    """Values of a record's file of schema 1 to ``schema``; others as they are."""
    if values.get("schema") in (1, 2):
        values = _with_metrics({**SINCE_2, **values})
    return {**values, "schema": schema} if values.get("schema") in (3, 4) else values


def _with_metrics(values: dict) -> dict:
    """Values of a record of schema 1 or 2, which had three scores as fields, as those of today's."""
    kept = {name: value for name, value in values.items() if name not in ("accuracy", "nll", "val_accuracy")}
    metrics = {name: values[name] for name in ("accuracy", "nll") if name in values}
    val = values.get("val_accuracy")
    validation = {} if val is None else {"accuracy": val}
    return {**kept, "metrics": metrics, "validation": validation, "primary": "accuracy", "schema": 3}
