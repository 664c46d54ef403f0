"""Content codings: that they decode what they should, refuse what they should, and never take more than their share."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from httpcore._decoders import Decoder, accept_encoding, make_decoder, supported_codings
from httpcore._errors import DecodingError
from tests.support.cost import assert_cheaper, cpu_seconds

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB, MIB = 1024, 1024 * 1024
MAX_PART = 64 * KIB

# Neither too regular nor too random, so that matches, literals and more than one kind of block are in it.
TEXT = b"".join(b"%d bottles of beer on the wall, %x\n" % (i, i * i * 2654435761) for i in range(60))


def deflated(data: bytes, window_bits: int, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, wbits=window_bits)
    return compressor.compress(data) + compressor.flush()


def gzipped(data: bytes) -> bytes:
    return deflated(data, 31)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "deflate": lambda data: deflated(data, 15),
    "raw deflate": lambda data: deflated(data, -15),
    "br": brotli.compress,
    "zstd": zstd.compress,
}
EMPTY_ZSTD_FRAME = zstd.compress(b"")
SKIPPABLE_ZSTD_FRAME = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00extra"


def coding_of(name: str) -> bytes:
    return name.removeprefix("raw ").encode()


def encoded(data: bytes, *names: str) -> bytes:
    for name in names:
        data = ENCODERS[name](data)
    return data


def decoder_for(*names: str) -> Decoder:
    decoder = make_decoder([coding_of(name) for name in names])
    assert decoder is not None
    return decoder


def decoded_parts(decoder: Decoder, *pieces: bytes) -> Iterator[bytes]:
    for piece in pieces:
        for part in decoder.decode(piece):
            assert 0 < len(part) <= MAX_PART
            yield part
    yield from decoder.finish()


def decode(names: str | tuple[str, ...], *pieces: bytes) -> bytes:
    decoder = decoder_for(*([names] if isinstance(names, str) else names))
    body = b"".join(decoded_parts(decoder, *pieces))
    assert decoder.received == sum(map(len, pieces))
    assert decoder.produced == len(body)
    return body


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


every_coding = pytest.mark.parametrize("name", ENCODERS)


# What is offered, and what it costs to know.


def test_all_that_can_be_decoded_is_offered() -> None:
    assert supported_codings() == ("gzip", "deflate", "br", "zstd")
    assert accept_encoding() == b"gzip, deflate, br, zstd"


ROOT = Path(__file__).parent.parent


def run_python(code: str, *options: str, path: Path | None = None) -> str:
    """What `code` prints in an interpreter of its own."""
    paths = [str(ROOT)] if path is None else [str(path), str(ROOT)]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    run = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.rstrip()


def test_no_library_is_loaded_before_it_is_needed() -> None:
    code = f"""
before = set(sys.modules)
def tell():
    print(*sorted({{"zlib", "brotli", "backports.zstd", "compression.zstd"}} & (set(sys.modules) - before)))
import httpcore._decoders as decoders
tell()
decoder = decoders.make_decoder([b"zstd, gzip"])
tell()
for _ in decoder.decode({gzipped(EMPTY_ZSTD_FRAME)!r}): pass
tell()
"""
    zstd_module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    assert run_python(code).split("\n") == ["", "brotli", " ".join(sorted([zstd_module, "brotli", "zlib"]))]


def offered_with(path: Path, *options: str) -> str:
    return run_python(
        "from httpcore._decoders import *\nprint(accept_encoding(), make_decoder([b'br']))", *options, path=path
    )


def test_a_brotli_that_cannot_be_told_to_stop_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "brotli.py").write_text("class Decompressor:\n    def process(self, data): ...\n")
    assert offered_with(tmp_path) == "b'gzip, deflate, zstd' None"


def test_a_brotli_that_cannot_be_loaded_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "brotli.py").write_text("raise ImportError('built for another Python')")
    assert offered_with(tmp_path) == "b'gzip, deflate, zstd' None"


def test_without_the_optional_libraries_the_rest_works(tmp_path: Path) -> None:
    expected = "gzip, deflate, zstd" if sys.version_info >= (3, 14) else "gzip, deflate"
    assert offered_with(tmp_path, "-S", "-E") == f"b'{expected}' None"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="zstd is part of Python")
def test_other_packages_below_backports_are_not_taken_for_zstd(tmp_path: Path) -> None:
    (tmp_path / "backports").mkdir()
    (tmp_path / "backports" / "__init__.py").touch()
    assert offered_with(tmp_path, "-S", "-E") == "b'gzip, deflate' None"


# Which codings a response has.


@pytest.mark.parametrize(
    "values", [[], [b""], [b"identity"], [b" , ,", b"Identity\t, identity"], [b"," * 60_000], [b" ," * 30_000, b""]]
)
def test_nothing_is_decoded_where_nothing_was_applied(values: list[bytes]) -> None:
    assert make_decoder(values) is None


@pytest.mark.parametrize(
    "values",
    [
        [b"*"],
        [b"gzip;q=1"],
        [b"compress"],
        [b"gzip, rot13"],
        [b"rot13", b"gzip"],
        [b"gz\xefp"],
        [b"gzip gzip"],
        [b"\0"],
    ],
)
def test_a_body_with_a_coding_that_is_not_known_is_left_as_it_is(values: list[bytes]) -> None:
    assert make_decoder(values) is None


@pytest.mark.parametrize(
    "values",
    [
        [b"gzip"],
        [b"GZip"],
        [b"x-gzip"],
        [b"X-GZIP"],
        [b"\t gzip ,, "],
        [b"identity, gzip"],
        [b"", b"gzip", b","],
        [b"," * 60_000 + b"gzip"],
    ],
)
def test_gzip_however_it_is_written(values: list[bytes]) -> None:
    decoder = make_decoder(values)
    assert decoder is not None
    assert b"".join(decoded_parts(decoder, gzipped(TEXT))) == TEXT


def test_x_deflate_is_deflate() -> None:
    assert decode("x-deflate", deflated(TEXT, 15)) == TEXT


@pytest.mark.parametrize(
    "values",
    [
        [b"gzip, gzip, gzip, gzip, gzip, gzip"],
        [b"gzip, br", b"gzip,,gzip", b"identity", b"gzip, gzip"],
        [b"gzip"] * 20,
        [b"gzip, gzip, gzip, gzip, gzip, rot13"],
        [b"gzip," * 10_000],
    ],
)
def test_more_than_five_codings_are_refused(values: list[bytes]) -> None:
    with pytest.raises(DecodingError, match=r"the body has \d+ content codings, and 5 is the most we undo"):
        make_decoder(values)


def test_a_long_list_of_nothing_is_cheap() -> None:
    values = [b" ,identity" * 100_000] * 10  # 10 MB, far above what any limit on headers lets in
    assert make_decoder(values) is None
    assert cpu_seconds(lambda: make_decoder(values)) < 5


# Decoding what is right.


@every_coding
def test_split_anywhere(name: str) -> None:
    data = encoded(TEXT, name)
    for i in range(len(data) + 1):
        assert decode(name, data[:i], data[i:]) == TEXT


@every_coding
def test_byte_by_byte(name: str) -> None:
    assert decode(name, *cut(encoded(TEXT, name), 1)) == TEXT


@every_coding
def test_coded_emptiness(name: str) -> None:
    assert decode(name, encoded(b"", name)) == b""
    assert decode(name, *cut(encoded(b"", name), 1)) == b""


@every_coding
@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_an_empty_body_is_empty_whatever_its_coding(name: str, pieces: list[bytes]) -> None:
    assert decode(name, *pieces) == b""
    assert decode((name, "gzip"), *pieces) == b""


@every_coding
def test_the_size_of_a_part_and_its_neighbours(name: str) -> None:
    for size in (16 * KIB, 32 * KIB - 16, 32 * KIB, MAX_PART, 2 * MAX_PART):
        for length in range(size - 2, size + 3):
            zeros = bytes(length)
            assert decode(name, encoded(zeros, name)) == zeros
            assert decode(name, *cut(encoded(zeros, name), 1)) == zeros


@pytest.mark.parametrize(
    "names",
    [("gzip", "gzip"), ("br", "gzip"), ("raw deflate", "zstd"), ("gzip", "deflate", "br", "zstd", "gzip")],
    ids=" ".join,
)
def test_stacked_codings_are_undone_last_first(names: tuple[str, ...]) -> None:
    data = encoded(TEXT, *names)
    assert decode(names, data) == TEXT
    assert decode(names, *cut(data, 1)) == TEXT
    decoder = make_decoder([b", ".join(map(coding_of, names))])
    assert decoder is not None
    assert b"".join(decoded_parts(decoder, data)) == TEXT


some_bytes = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda unit, times: unit * times, st.binary(min_size=1, max_size=20), st.integers(0, 20_000)),
)


@given(
    names=st.lists(st.sampled_from(list(ENCODERS)), min_size=1, max_size=5).map(tuple),
    body=some_bytes,
    sizes=st.lists(st.integers(0, 500), max_size=20),
)
def test_what_was_encoded_is_decoded(names: tuple[str, ...], body: bytes, sizes: list[int]) -> None:
    rest = encoded(body, *names)
    pieces = []
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert decode(names, *pieces, rest) == body


@given(body=some_bytes, level=st.integers(0, 9), window_bits=st.sampled_from([9, 12, 15, -9, -12, -15]))
@example(body=b"", level=0, window_bits=-15)
def test_deflate_with_zlib_around_it_or_without(body: bytes, level: int, window_bits: int) -> None:
    data = deflated(body, window_bits, level)
    assert decode("deflate", data) == body
    assert decode("deflate", data[:1], data[1:]) == body


def flushing_zlib(window_bits: int) -> Callable[[bytes], bytes]:
    compressor = zlib.compressobj(wbits=window_bits)
    return lambda data: compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def flushing_brotli() -> Callable[[bytes], bytes]:
    compressor = brotli.Compressor()
    return lambda data: bytes(compressor.process(data) + compressor.flush())


def flushing_zstd() -> Callable[[bytes], bytes]:
    compressor = zstd.ZstdCompressor()
    return lambda data: compressor.compress(data, mode=compressor.FLUSH_BLOCK)


@pytest.mark.parametrize(
    ("name", "flushed"),
    [
        ("gzip", flushing_zlib(31)),
        ("deflate", flushing_zlib(15)),
        ("raw deflate", flushing_zlib(-15)),
        ("br", flushing_brotli()),
        ("zstd", flushing_zstd()),
    ],
    ids=ENCODERS,
)
def test_what_the_peer_has_flushed_comes_out_at_once(name: str, flushed: Callable[[bytes], bytes]) -> None:
    decoder = decoder_for(name)
    for i in range(20):
        event = b"data: %d\n\n" % i
        assert b"".join(decoder.decode(flushed(event))) == event


# Several members.


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", gzipped(b"one") + gzipped(b"") + gzipped(b"two")),
        ("gzip", gzipped(b"one") + gzipped(b"two") + bytes(9)),
        ("gzip", gzipped(b"one") + bytes(9) + gzipped(b"two")),
        ("zstd", zstd.compress(b"one") + EMPTY_ZSTD_FRAME + zstd.compress(b"two")),
        ("zstd", SKIPPABLE_ZSTD_FRAME + zstd.compress(b"one") + SKIPPABLE_ZSTD_FRAME + zstd.compress(b"two")),
        ("zstd", zstd.compress(b"one") + zstd.compress(b"two") + SKIPPABLE_ZSTD_FRAME),
    ],
    ids=["gzip", "gzip, padded", "gzip, padded between", "zstd", "zstd, skippable", "zstd, skippable at the end"],
)
def test_members_are_decoded_one_after_another_wherever_they_are_split(name: str, data: bytes) -> None:
    assert decode(name, *cut(data, 1)) == b"onetwo"
    for i in range(len(data) + 1):
        assert decode(name, data[:i], data[i:]) == b"onetwo"


def test_members_larger_than_a_step() -> None:
    body = b"".join(b"%d," % i for i in range(100_000))
    assert decode("gzip", gzipped(body) * 3, gzipped(b"end")) == body * 3 + b"end"
    assert decode("zstd", zstd.compress(body) * 3, zstd.compress(b"end")) == body * 3 + b"end"


def test_zeros_after_the_end_of_gzip_are_padding_however_many() -> None:
    assert decode("gzip", gzipped(b"tape"), *[bytes(100_000)] * 100) == b"tape"


# What is wrong, and is said.


@every_coding
def test_truncated_at_any_offset(name: str) -> None:
    data = encoded(TEXT, name)
    message = f"the body ended before the end of its {coding_of(name).decode()} data"
    for i in range(1, len(data)):
        decoder = decoder_for(name)
        assert TEXT.startswith(b"".join(decoder.decode(data[:i])))
        with pytest.raises(DecodingError, match=message):
            decoder.finish()


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_truncated_in_a_further_member(name: str) -> None:
    data = encoded(TEXT, name)
    for i in range(1, len(data)):
        with pytest.raises(DecodingError, match="ended before the end"):
            decode(name, data + data[:i])


def test_every_layer_has_to_come_to_its_end() -> None:
    inner, nothing = brotli.compress(TEXT), gzipped(b"")
    with pytest.raises(DecodingError, match="ended before the end of its br data"):
        decode(("br", "gzip"), gzipped(inner[:-1]))
    with pytest.raises(DecodingError, match="ended before the end of its gzip data"):
        decode(("br", "gzip"), gzipped(inner)[:-1])
    with pytest.raises(DecodingError, match="ended before the end of its br data"):
        decode(("br", "gzip"), nothing)


GARBAGE = [b"x", b"\x1e\x8b", b"\0\0\0x", b"garbage" * 10_000]


@every_coding
@pytest.mark.parametrize("garbage", GARBAGE, ids=["letter", "nearly gzip", "after zeros", "much"])
@pytest.mark.parametrize("body", [TEXT, bytes(MIB)], ids=["text", "zeros"])
def test_garbage_after_the_end_is_refused_wherever_it_is_split(name: str, garbage: bytes, body: bytes) -> None:
    coding = coding_of(name).decode()
    data = encoded(body, name)
    for pieces in ([data + garbage], [data, garbage], cut(data + garbage[:4], 1), [data[:-1], data[-1:] + garbage]):
        message = f"the body goes on after the end of its {coding} data|the body is not valid {coding} data"
        with pytest.raises(DecodingError, match=message):
            decode(name, *pieces)


@pytest.mark.parametrize("name", ["deflate", "raw deflate", "br", "zstd"])
def test_only_gzip_is_padded(name: str) -> None:
    with pytest.raises(DecodingError):
        decode(name, encoded(TEXT, name), bytes(8))


def test_zeros_before_gzip_are_no_padding() -> None:
    with pytest.raises(DecodingError, match=r"not valid gzip data: .*incorrect header check"):
        decode("gzip", bytes(8) + gzipped(TEXT))


def test_what_only_begins_like_a_further_member_is_refused() -> None:
    with pytest.raises(DecodingError, match=r"not valid gzip data: .*incorrect header check"):
        decode("gzip", gzipped(TEXT) + b"\x1f nothing like it")
    with pytest.raises(DecodingError, match=r"not valid zstd data: .*Unknown frame descriptor"):
        decode("zstd", zstd.compress(TEXT) + b"\x28 nothing like it")


@pytest.mark.parametrize(
    ("name", "data", "cause", "reason"),
    [
        ("gzip", b"<html>not gzip at all</html>", zlib.error, "incorrect header check"),
        ("gzip", gzipped(TEXT)[:-8] + b"checksum", zlib.error, "incorrect data check"),
        ("gzip", gzipped(TEXT)[:-4] + b"size", zlib.error, "incorrect length check"),
        ("deflate", b"\xffnot deflate at all", zlib.error, "invalid block type"),
        ("deflate", deflated(TEXT, 15)[:-4] + b"adle", zlib.error, "incorrect data check"),
        ("br", b"\xff\xff\xffnot br at all", brotli.error, "decoder"),
        ("zstd", b"<html>not zstd at all</html>", zstd.ZstdError, "Unknown frame descriptor"),
    ],
)
def test_the_error_says_what_is_wrong(name: str, data: bytes, cause: type[Exception], reason: str) -> None:
    with pytest.raises(DecodingError, match=f"^the body is not valid {name} data: .*{reason}") as caught:
        decode(name, data)
    assert type(caught.value.__cause__) is cause
    assert caught.value.request_sent


def zstd_announcing(size: int, body: bytes, has_empty_block: bool) -> bytes:
    """A frame whose head says `size` (RFC 8878, 3.1.1), with one block that is stored, and perhaps an empty one."""
    blocks = [body, b""] if has_empty_block else [body]
    stored = [
        (len(block) << 3 | (place == len(blocks) - 1)).to_bytes(3, "little") + block
        for place, block in enumerate(blocks)
    ]
    return b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + b"".join(stored)


@pytest.mark.parametrize("has_empty_block", [True, False])
@pytest.mark.parametrize("size", [5, 0, 4, 6, 9])
def test_a_zstd_frame_is_as_long_as_it_announces_however_it_is_cut(size: int, has_empty_block: bool) -> None:
    frame = zstd_announcing(size, b"hello", has_empty_block)
    for data, body in (
        (frame, b"hello"),
        (frame + zstd.compress(b"world"), b"helloworld"),
        (SKIPPABLE_ZSTD_FRAME + frame, b"hello"),
    ):
        cuts = [[data], [data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in range(1, 20))]
        for pieces in cuts:
            if size == len(b"hello"):
                assert decode("zstd", *pieces) == body
            else:
                with pytest.raises(DecodingError, match="not valid zstd data"):
                    decode("zstd", *pieces)


def test_a_zstd_frame_that_announces_too_much_is_refused_in_words() -> None:
    frame = zstd_announcing(9, b"hello", True)
    with pytest.raises(DecodingError, match="a frame that announces 9 bytes has less"):
        decode("zstd", *[frame[i : i + 1] for i in range(len(frame))])


@pytest.mark.parametrize("window_log", [24, 27])
def test_a_zstd_window_above_8_mb_is_refused(window_log: int) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    data = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(DecodingError, match="requires too much memory"):
        decode("zstd", data)


def test_brotli_with_a_large_window_is_refused() -> None:
    # The escape into the format that RFC 7932 does not know, a window of 2**30 bytes, and the end.
    with pytest.raises(DecodingError, match="not valid br data"):
        decode("br", b"\x11\x1e\x03")


def test_a_preset_dictionary_is_refused() -> None:
    compressor = zlib.compressobj(zdict=TEXT)
    with pytest.raises(DecodingError, match="not valid deflate data"):
        decode("deflate", compressor.compress(TEXT) + compressor.flush())
    trained = zstd.ZstdDict(TEXT * 10, is_raw=True)
    with pytest.raises(DecodingError, match="zstd data"):
        decode("zstd", zstd.compress(TEXT * 2, zstd_dict=trained))


@every_coding
def test_no_flipped_bit_does_harm(name: str) -> None:
    data = encoded(TEXT, name)
    for i in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[i // 8] ^= 1 << i % 8
        try:
            body = decode(name, bytes(flipped))
        except DecodingError:
            continue
        # gzip and zlib have checksums over the body; some bits of their heads do not matter.
        assert body == TEXT or name in ("raw deflate", "br", "zstd")


@given(
    name=st.sampled_from(list(ENCODERS)),
    start=st.integers(0, 200),
    noise=st.binary(max_size=300),
    size=st.integers(1, 100),
)
def test_noise_ends_in_a_decoding_error_or_an_end(name: str, start: int, noise: bytes, size: int) -> None:
    with contextlib.suppress(DecodingError):
        decode(name, *cut(encoded(TEXT, name)[:start] + noise, size))


@every_coding
def test_a_failed_decoder_stays_failed(name: str) -> None:
    decoder = decoder_for(name)
    with pytest.raises(DecodingError):
        list(decoder.decode(encoded(TEXT, name) + b"garbage"))
    with pytest.raises(DecodingError, match="cannot be decoded any further"):
        list(decoder.decode(encoded(TEXT, name)))
    with pytest.raises(DecodingError, match="cannot be decoded any further"):
        decoder.finish()


def test_a_body_that_ended_too_early_does_not_go_on() -> None:
    decoder = decoder_for("gzip")
    data = gzipped(TEXT)
    list(decoder.decode(data[:-1]))
    with pytest.raises(DecodingError, match="ended before the end"):
        decoder.finish()
    with pytest.raises(DecodingError, match="cannot be decoded any further"):
        list(decoder.decode(data[-1:]))


def test_data_that_was_left_behind_is_missed() -> None:
    decoder = decoder_for("gzip")
    data = gzipped(bytes(MIB))
    next(decoder.decode(data[:-1]))
    with pytest.raises(DecodingError, match="left unfinished"):
        list(decoder.decode(data[-1:]))


# What must not cost much.


class PeakMemory:
    """What Python and zlib have allocated, at most, more than at the beginning. brotli and zstd do not tell."""

    def __enter__(self) -> PeakMemory:
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *exc: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


@pytest.mark.parametrize("names", [("gzip",), ("gzip", "gzip"), ("deflate", "gzip", "gzip", "deflate", "gzip")])
def test_each_step_of_a_bomb_takes_little_memory(names: tuple[str, ...]) -> None:
    size = 100 * MIB
    data = encoded(bytes(size), *names)
    decoder = decoder_for(*names)
    with PeakMemory() as peak:
        assert sum(map(len, decoded_parts(decoder, data))) == size
    assert peak.bytes < MAX_PART + MIB
    assert decoder.produced == size


def gzip_bomb(mebibytes: int) -> bytes:
    """One gzip member of zeros. A block that was flushed can be repeated, and only the checksum takes time."""
    zeros = bytes(MIB)
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(zeros) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(zeros, checksum)
    trailer = checksum.to_bytes(4, "little") + (mebibytes * MIB % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * mebibytes + compressor.flush() + trailer


def br_bomb(mebibytes: int, window_log: int) -> bytes:
    compressor = brotli.Compressor(quality=5, lgwin=window_log)
    return bytes(b"".join([compressor.process(bytes(MIB)) for _ in range(mebibytes)]) + compressor.finish())


def zstd_bomb(mebibytes: int, window_log: int) -> bytes:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    return b"".join([compressor.compress(bytes(MIB)) for _ in range(mebibytes)]) + compressor.flush()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize(
    ("name", "make_bomb", "mebibytes", "most"),
    [
        ("gzip", gzip_bomb, 1024, 4),
        # The window itself is what takes memory: 4 MB is brotli's default and 2 MB zstd's; 16 and 8 are the most.
        ("br", lambda size: br_bomb(size, 22), 256, 8),
        ("br", lambda size: br_bomb(size, 24), 256, 20),
        ("zstd", lambda size: zstd_bomb(size, 21), 1024, 8),
        ("zstd", lambda size: zstd_bomb(size, 23), 1024, 12),
    ],
    ids=["gzip", "br", "br, largest window", "zstd", "zstd, largest window"],
)
def test_zeros_without_end_take_little_memory(
    name: str, make_bomb: Callable[[int], bytes], mebibytes: int, most: int, tmp_path: Path
) -> None:
    (tmp_path / "small").write_bytes(encoded(TEXT, name))
    (tmp_path / "bomb").write_bytes(make_bomb(mebibytes))
    code = f"""
from httpcore._decoders import make_decoder
def decode(path):
    decoder = make_decoder([{name.encode()!r}])
    with open(path, "rb") as file:
        while data := file.read(65536):
            for part in decoder.decode(data):
                pass
    decoder.finish()
    return decoder.produced
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
decode({str(tmp_path / "small")!r})
before = peak()
print(decode({str(tmp_path / "bomb")!r}), peak() - before)
"""
    produced, kibibytes = map(int, run_python(code).split())
    assert produced == mebibytes * MIB
    assert kibibytes < most * KIB


@every_coding
def test_what_nobody_asks_for_is_not_decoded(name: str) -> None:
    decoder = decoder_for(name, "gzip")
    parts = decoder.decode(encoded(bytes(50 * MIB), name, "gzip"))
    assert decoder.produced == 0
    first = next(parts)
    assert decoder.produced == len(first) <= MAX_PART
    with PeakMemory() as peak:
        del parts
    assert decoder.produced == len(first)
    assert peak.bytes < MAX_PART


@pytest.mark.parametrize(
    "head",
    [
        b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"name" * MIB + b"\0",
        b"\x1f\x8b\x08\x10\0\0\0\0\0\xff" + b"comment" * MIB + b"\0",
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\xff\xff" + b"x" * 0xFFFF,
    ],
    ids=["name", "comment", "extra field"],
)
def test_a_huge_gzip_head_is_skipped_in_little_memory(head: bytes) -> None:
    data = head + deflated(TEXT, -15) + gzipped(TEXT)[-8:]
    with PeakMemory() as peak:
        assert decode("gzip", data) == TEXT
    assert peak.bytes < MIB


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", gzipped(b"") * 1_000_000),
        ("gzip", gzipped(b".") * 200_000),
        ("zstd", EMPTY_ZSTD_FRAME * 50_000),
        ("zstd", SKIPPABLE_ZSTD_FRAME * 50_000),
        # Window bits, metadata blocks of no byte, the end.
        ("br", b"\x0c" + b"\x06" * 5_000_000 + b"\x03"),
    ],
    ids=["empty gzip", "gzip of one byte", "empty zstd", "skippable zstd", "brotli metadata"],
)
def test_the_time_of_tiny_members_grows_with_their_number_only(name: str, data: bytes) -> None:
    # It takes about a second. It would be minutes if it grew with the square, as it does where each member that ends
    # takes a copy of all that follows it.
    assert cpu_seconds(lambda: decode(name, data)) < 15


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", gzipped(b"") * 100_000),
        ("gzip", gzipped(b"") + bytes(2 * MIB)),
        ("zstd", EMPTY_ZSTD_FRAME * 200_000),
        ("br", b"\x0c" + b"\x06" * 2_000_000 + b"\x03"),
        ("gzip", gzipped(b".") * 100_000),
    ],
    ids=["empty gzip", "padding", "empty zstd", "brotli metadata", "gzip of one byte"],
)
def test_a_layer_is_not_kept_busy_for_nothing_by_the_one_before_it(name: str, data: bytes) -> None:
    packed = gzipped(gzipped(data))
    assert len(packed) < 10_000
    with pytest.raises(DecodingError, match=f"the body packs {name} data that decodes to nothing"):
        decode((name, "gzip", "gzip"), packed)


def test_an_honest_layer_may_be_larger_than_what_is_in_it() -> None:
    # Members whose data does not compress, so that each byte takes 1.1 in all, and padding.
    body = random.Random(0).randbytes(100_000)
    members = b"".join(map(gzipped, cut(body, 200)))
    assert decode(("gzip", "gzip"), gzipped(members * 30 + bytes(100_000))) == body * 30


def test_gzip_is_decoded_nearly_as_fast_as_zlib_can() -> None:
    body = b"".join(b"%d bottles of beer on the wall, %x\n" % (i, i * i * 2654435761) for i in range(500_000))
    pieces = cut(gzipped(body), 65536)

    def bare() -> None:
        decompressor = zlib.decompressobj(31)
        for piece in pieces:
            decompressor.decompress(piece)

    def ours() -> None:
        for _ in decoded_parts(decoder_for("gzip"), *pieces):
            pass

    # It takes about 1.05 times as long; the rest is room for a busy machine.
    assert_cheaper(lambda: cpu_seconds(ours), 1.5, lambda: cpu_seconds(bare))
