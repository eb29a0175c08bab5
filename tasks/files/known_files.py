"""Digests of known files: official content, copies, and content that was rebuilt. Standard library only.

Every digest is of the uncompressed content. A file with another digest is not
wrong, only not compared yet; never add a digest that has no source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

# `official`: the publisher's file; the digest is in the checksums of TensorFlow Datasets 4.9 (`url_checksums/glue.txt`,
# `datasets/squad/checksums.tsv`); for the vocabulary it is bert-base-uncased's.
# `copy`: the GLUE file as a public copy of the benchmark has it (github.com/F0restL1n/BERT at 0d0288be), with the
# official number of rows; no digest by the publisher is known.
# `rebuilt`: official content put together again: MRPC's training rows from the publisher's file as GLUE does, SQuAD
# v1.1 from the pages of its own explorer (training ids are made up, some answer offsets are chosen), MNLI and QQP from
# a public Parquet copy (github.com/lanl/TTLoRAMoE at f2c87e05; MNLI without unread columns).
Origin = Literal["official", "copy", "rebuilt"]


@dataclass(frozen=True)
class KnownFile:
    """A file whose content is known."""

    # Its official path below the data root.
    name: str
    # Of the uncompressed content.
    sha256: str
    # Of the uncompressed content.
    bytes: int
    # Where the digest comes from.
    origin: Origin


_FILES: Mapping[Origin, tuple[tuple[str, str, int], ...]] = {
    "official": (
        ("glue/AX/diagnostic.tsv", "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd", 222_257),
        ("glue/MRPC/dev_ids.tsv", "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7", 6_222),
        (
            "glue/MRPC/msr_paraphrase_test.txt",
            "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784",
            441_275,
        ),
        (
            "glue/MRPC/msr_paraphrase_train.txt",
            "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
            1_047_044,
        ),
        ("squad/dev-v1.1.json", "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9", 4_854_279),
        ("squad/dev-v2.0.json", "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8", 4_370_528),
        ("squad/train-v1.1.json", "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955", 30_288_272),
        ("squad/train-v2.0.json", "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002", 42_123_633),
        ("vocab/bert-base-uncased.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
    ),
    "copy": (
        ("glue/CoLA/dev.tsv", "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd", 53_717),
        ("glue/CoLA/test.tsv", "3b4df85f7a9a0633574b38d181e18090ac961a24b18fb6bcd74999ddea8ad0b8", 48_788),
        ("glue/CoLA/train.tsv", "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624", 428_590),
        ("glue/MRPC/dev.tsv", "9e8f284788040f7c9ecde2e1b3c07237c756f926bd9ef8548ef5d34b56f69f17", 105_616),
        ("glue/MRPC/test.tsv", "aee460ceda833926b8ab2ad952d399f5cf8bc9335cff19afcac03dc449558622", 445_335),
        ("glue/QNLI/dev.tsv", "ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd", 1_367_342),
        ("glue/RTE/dev.tsv", "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb", 90_343),
        ("glue/RTE/test.tsv", "6e33f09b5c2bfd5fd5fde217070f3dd49e484e33b9752b5864cf36fc421a213f", 933_969),
        ("glue/RTE/train.tsv", "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c", 846_226),
        ("glue/SST-2/dev.tsv", "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0", 94_931),
        ("glue/SST-2/test.tsv", "69a938605609b3e6663b4487918fe1565eb293734e6e520d0366d1d412fd2a13", 197_335),
        ("glue/SST-2/train.tsv", "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1", 3_806_081),
        ("glue/STS-B/dev.tsv", "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59", 276_928),
        ("glue/STS-B/test.tsv", "16b4223d7d44a644fbc10f1b449472cfe81e1715fb07cf44023b0aa88ce856eb", 292_587),
        ("glue/STS-B/train.tsv", "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2", 984_099),
        ("glue/WNLI/dev.tsv", "cba00490596dd14be8cf53b4f53bb744abe3a7b89f81ab210528d80225338ed5", 11_261),
        ("glue/WNLI/test.tsv", "ff0296817e235bf6f7a230c5f6781bd6ee228a45445f6510831fdef6f2a04766", 35_761),
        ("glue/WNLI/train.tsv", "9a88e9d54b6861cc796a088e9acf4f5f65064a9ef65ae6fa7a688b28391e5c9a", 99_411),
    ),
    "rebuilt": (
        (
            "glue/MNLI/dev_matched.tsv",
            "eec3baa181ad183bef2f3988aa99a3f8db2453c92c149f3e3493a4c262e8ad23",
            1_813_350,
        ),
        (
            "glue/MNLI/test_matched.tsv",
            "8875825356a6229a97f732aea87f70c19ef5c7ead2c3dc188043c5fc3f5f78f6",
            1_720_222,
        ),
        ("glue/MRPC/train.tsv", "69abcedee3cf738c6ce58d772e43e1b7cdf5b4edee4aceda459c0d9f4e5599f3", 941_471),
        ("glue/QQP/dev.tsv", "63689b3e5ef5641c897fe11fcb742f6d14ea7844eef43e410f874d31fdf30c2a", 5_238_383),
        ("squad/dev-v1.1.json", "43473565bb66fd4489c987a29cff725c8363a0fade81879c8e33bca7b8c7d1d4", 4_853_677),
        ("squad/train-v1.1.json", "763eabd5d452a296a226aa6b64b0571a9dc94cb5dfe6e361f34f48dd9b386705", 30_288_264),
    ),
}

KNOWN_FILES: Mapping[str, KnownFile] = MappingProxyType(
    {digest: KnownFile(name, digest, size, origin) for origin, files in _FILES.items() for name, digest, size in files}
)


def known_versions(name: str) -> tuple[KnownFile, ...]:
    """Lists the known contents of one file.

    Args:
        name: its official path below the data root.

    Returns:
        Its known contents; official ones first.
    """
    return tuple(file for file in KNOWN_FILES.values() if file.name == name)
