import pytest

from airflow_messaging.sandbox.forms import FormError, MultipartParser, Part, as_bytes, as_text, nest

BODY = (
    b"preamble\r\n--b\r\n"
    b'Content-Disposition: form-data; name="data"; filename="a b.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"one\r\n--two\r\n-\r\n--b\r\n"
    b'Content-Disposition: form-data; name="empty"\r\n\r\n'
    b"\r\n--b  \r\n\r\nbare\r\n--b--\r\nepilogue"
)
EXPECTED = [
    (Part("data", "a b.txt", "text/plain"), b"one\r\n--two\r\n-"),
    (Part("empty", None, "application/octet-stream"), b""),
    (Part("", None, "application/octet-stream"), b"bare"),
]


def parsed(body: bytes, size: int) -> list[tuple[Part, bytes]]:
    parser = MultipartParser("b")
    parts: list[tuple[Part, bytes]] = []
    for begin in range(0, len(body), size):
        for event in parser.feed(body[begin : begin + size]):
            if isinstance(event, Part):
                parts.append((event, b""))
            elif event is not None:
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
    parser.finish()
    return parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_multipart_in_pieces_of_any_size(size: int) -> None:
    assert parsed(BODY, size) == EXPECTED


def test_every_truncated_body_is_refused() -> None:
    end = BODY.index(b"--b--") + len(b"--b--")
    for length in range(end):
        with pytest.raises(FormError):
            parsed(BODY[:length], 1000)


def test_endless_part_headers_are_refused() -> None:
    with pytest.raises(FormError):
        parsed(b"--b\r\n" + b"x" * 20_000, 1000)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ('filename="a\\"b"', 'a"b'),
        ('filename="a%22b"', 'a"b'),
        ("filename*=utf-8''%C5%BC.txt", "ż.txt"),
        ("filename=bare", "bare"),
        ('filename=""', ""),
    ],
)
def test_file_names(parameter: str, name: str) -> None:
    body = f'--b\r\nContent-Disposition: form-data; name="n"; {parameter}\r\n\r\nx\r\n--b--'.encode()
    assert parsed(body, 1000)[0][0] == Part("n", name, "application/octet-stream")


def test_nested_names() -> None:
    pairs = [
        ("a", "1"),
        ("a", "2"),
        ("m[x]", "3"),
        ("m[y]", "4"),
        ("l[]", "5"),
        ("l[]", "6"),
        ("n[0]", "7"),
        ("a[b][c]", "8"),
    ]
    assert nest(pairs) == {"a": "2", "m": {"x": "3", "y": "4"}, "l": ["5", "6"], "n": ["7"], "a[b][c]": "8"}


def test_texts_that_are_not_characters() -> None:
    assert as_bytes(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"
    assert as_bytes("\ud800") == b"?"
    assert as_text("a\ud800").encode()
