"""The averages over GLUE against published rows, each with the average that was published or counted from it."""

import pytest

from tasks.scoring.averages import AVERAGES, average, averages
from tasks.system.errors import DataError


def glue(cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli=None):
    """Scores as papers print them; `mrpc`, `stsb`, `qqp` and `mnli` may be pairs (F1 or Pearson or matched first)."""

    def pair(value):
        return value if isinstance(value, tuple) else (value, value)

    scores = {
        "glue_cola_v1": {"matthews": cola},
        "glue_sst2_v1": {"accuracy": sst2},
        "glue_mrpc_v1": dict(zip(("f1", "accuracy"), pair(mrpc), strict=True)),
        "glue_stsb_v1": dict(zip(("pearson", "spearman"), pair(stsb), strict=True)),
        "glue_qqp_v1": dict(zip(("f1", "accuracy"), pair(qqp), strict=True)),
        "glue_mnli_matched_v1": {"accuracy": pair(mnli)[0]},
        "glue_mnli_mismatched_v1": {"accuracy": pair(mnli)[1]},
        "glue_qnli_v1": {"accuracy": qnli},
        "glue_rte_v1": {"accuracy": rte},
    }
    return scores if wnli is None else {**scores, "glue_wnli_v1": {"accuracy": wnli}}


BERT_BASE = glue(52.1, 93.5, (88.9, 84.8), (87.1, 85.8), (71.2, 89.2), (84.6, 83.4), 90.5, 66.4, 65.1)
# Two scores on QNLI are in print.
BERT_BASE_SECOND_QNLI = BERT_BASE | {"glue_qnli_v1": {"accuracy": 90.1}}
PUBLISHED = {
    "official9": {
        "BERT base": (BERT_BASE, "78.34"),
        "BERT base, as published": (BERT_BASE, "78.3"),
        "BERT base, other QNLI": (BERT_BASE_SECOND_QNLI, "78.30"),
        "BERT base, other QNLI, as published": (BERT_BASE_SECOND_QNLI, "78.3"),
    },
    "col9": {
        "BERT base": (BERT_BASE, "79.60"),
        "BERT large": (glue(60.5, 94.9, 89.3, 86.5, 72.1, (86.7, 85.9), 92.7, 70.1), "82.08"),
        "TinyBERT 6": (glue(51.1, 93.1, 87.3, 83.7, 71.6, (84.6, 83.2), 90.4, 70.0), "79.44"),
        "TinyBERT 4": (glue(44.1, 92.6, 86.4, 80.4, 71.3, (82.5, 81.8), 87.7, 66.6), "77.04"),
        "DistilBERT 6": (glue(49.0, 92.5, 86.9, 81.3, 70.1, (82.6, 81.3), 88.9, 58.4), "76.78"),
        "DistilBERT 4": (glue(32.8, 91.4, 82.4, 76.1, 68.5, (78.9, 78.0), 85.2, 54.1), "71.9"),
        "BERT 4 PKD": (glue(24.8, 89.4, 82.6, 79.8, 70.2, (79.9, 79.3), 85.1, 62.3), "72.6"),
        "BERT tiny": (glue(19.5, 87.6, 83.2, 77.1, 66.5, (75.4, 74.9), 84.8, 62.6), "70.2"),
        "BERT base of TinyBERT": (glue(52.8, 93.4, 87.5, 85.2, 71.1, (83.9, 83.4), 90.9, 67.0), "79.5"),
        "MobileBERT": (glue(50.5, 92.8, 88.8, 84.4, 70.2, (83.3, 82.6), 90.6, 66.2), "78.82"),
        "MobileBERT w/o OPT": (glue(51.1, 92.6, 88.8, 84.8, 70.5, (84.3, 83.4), 91.6, 70.4), "79.72"),
        "MobileBERT tiny": (glue(46.7, 91.7, 87.9, 80.1, 68.9, (81.5, 81.6), 89.5, 65.1), "77.00"),
    },
    "task8_m": {
        "NAS-BERT 60, test": (glue(48.4, 92.9, 84.5, 86.1, 88.9, 83.5, 90.9, 73.7), "81.11"),
        "NAS-BERT 60 augmented, test": (glue(50.5, 92.6, 86.4, 86.9, 88.8, 84.1, 91.2, 72.7), "81.65"),
        "BERT base of NAS-BERT, test": (glue(57.1, 94.1, 84.1, 88.0, 89.0, 84.8, 91.7, 71.0), "82.5"),
        "TinyBERT, test": (glue(51.1, 93.1, 82.6, 83.7, 89.1, 84.6, 90.4, 70.0), "80.6"),
        "BERT-of-Theseus, test": (glue(47.8, 92.2, 83.2, 84.1, 89.3, 82.4, 89.6, 66.2), "79.4"),
        "NAS-BERT 60, dev": (glue(58.1, 92.1, 88.5, 89.4, 91.0, 84.1, 91.3, 79.2), "84.21"),
        "NAS-BERT 60 augmented, dev": (glue(58.7, 93.1, 88.9, 89.9, 91.2, 84.8, 91.9, 79.8), "84.8"),
        "NAS-BERT 30, dev": (glue(48.7, 90.5, 84.6, 87.6, 90.2, 81.0, 88.4, 71.8), "80.3"),
        "NAS-BERT 10, dev": (glue(34.0, 88.6, 79.1, 84.8, 88.5, 76.4, 86.3, 66.6), "75.5"),
        "NAS-BERT 5, dev": (glue(19.8, 87.3, 79.6, 83.0, 85.8, 74.4, 84.9, 66.6), "72.7"),
    },
    "dev9_wnli": {
        "BERT base": (glue(56.3, 92.7, 88.6, 89.0, 89.6, 84.7, 91.8, 69.3, 53.5), "79.5"),
        "DistilBERT": (glue(51.3, 91.3, 87.5, 86.9, 88.5, 82.2, 89.2, 59.9, 56.3), "77.0"),
    },
}
ROWS = [
    pytest.param(average_id, *row, id=f"{average_id}: {name}")
    for average_id, rows in PUBLISHED.items()
    for name, row in rows.items()
]


@pytest.mark.parametrize(("average_id", "scores", "published"), ROWS)
def test_published_averages(average_id, scores, published):
    # Half a unit of the last printed digit, and the rounding of binary sums.
    tolerance = 0.5 * 10.0 ** -len(published.partition(".")[2]) + 1e-9
    assert average(average_id, scores) == pytest.approx(float(published), abs=tolerance, rel=0)


def test_t5_average_is_the_official_one_without_wnli():
    official, t5 = average("official9", BERT_BASE), average("t5_8", BERT_BASE)
    assert t5 == pytest.approx((9 * official - 65.1) / 8)


def test_incomplete_scores_have_no_average():
    scores = {task: values for task, values in BERT_BASE.items() if task != "glue_wnli_v1"}
    with pytest.raises(DataError, match="needs glue_wnli_v1/accuracy"):
        average("official9", scores)
    assert set(averages(scores)) == {"col9", "task8_m", "t5_8"}
    assert set(averages(BERT_BASE)) == set(AVERAGES)
    with pytest.raises(DataError, match="did you mean official9"):
        average("oficial9", scores)
