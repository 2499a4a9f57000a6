import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.detect.path import canonical_path, decode, decode_target, is_secret_name, mask_query, mask_url


@pytest.mark.parametrize(
    ("raw", "path", "flags"),
    [
        ("/", "/", ()),
        ("/a/b.html", "/a/b.html", ()),
        ("/a/", "/a/", ()),
        ("//a///b", "/a/b", ()),
        ("/a/./b", "/a/b", ()),
        ("/a/../b", "/b", ("dot_segments",)),
        ("/../../etc/passwd", "/etc/passwd", ("dot_segments",)),
        ("/%2e%2e/etc", "/etc", ("dot_segments",)),
        ("/%2E%2E/etc", "/etc", ("dot_segments",)),
        ("/%252e%252e/etc", "/etc", ("dot_segments", "double_encoded")),
        ("/%25252e%25252e/etc", "/etc", ("dot_segments", "double_encoded")),
        ("/%c0%ae%c0%ae/etc", "/etc", ("dot_segments", "overlong")),
        ("/%e0%80%ae%e0%80%ae/etc", "/etc", ("dot_segments", "overlong")),
        ("/%f0%80%80%ae./etc", "/etc", ("dot_segments", "overlong")),
        ("/a/..;/b", "/b", ("dot_segments",)),
        ("/a;v=1/b;x", "/a/b", ()),
        ("\\a\\..\\b", "/b", ("dot_segments",)),
        ("/a%5c..%5cb", "/b", ("dot_segments",)),
        ("/\uff0e\uff0e/b", "/b", ("dot_segments",)),
        ("/%ef%bc%8e%ef%bc%8e/b", "/b", ("dot_segments",)),
        ("/\uff052e\uff052e/b", "/b", ("dot_segments", "double_encoded")),
        ("/Adm%49n", "/AdmIn", ()),
        ("/100%", "/100%", ()),
        ("/%zz", "/%zz", ()),
        ("/%ff", "/\ufffd", ("invalid_utf8",)),
        ("/%00", "/\x00", ()),
        ("/caf%c3%a9", "/caf\u00e9", ()),
        ("/cafe%cc%81", "/caf\u00e9", ()),
        ("*", "*", ()),
        ("/a/..", "/", ("dot_segments",)),
        ("/a/b/..", "/a/", ("dot_segments",)),
        ("/.", "/", ()),
    ],
)
def test_a_resource_has_one_spelling(raw, path, flags):
    assert canonical_path(raw) == (path, flags)


def test_decoding_ends_after_three_rounds():
    deep = "/%" + "25" * 50 + "2e"
    assert canonical_path(deep)[0].startswith("/%2525")
    assert "double_encoded" in canonical_path(deep)[1]


@given(st.text(st.sampled_from("/.;\\%25eEcC0aAfF\uff0e\uff0f\uff05é x"), max_size=30))
def test_a_canonical_path_climbs_nowhere_and_is_never_longer_lived_than_three_rounds(raw):
    path, flags = canonical_path("/" + raw)
    assert ".." not in path.split("/") or "%" in path
    assert "//" not in path
    assert "\\" not in path
    assert list(flags) == sorted(set(flags))


@given(st.text(max_size=40))
def test_any_text_can_be_decoded(text):
    decoded, _ = decode(text)
    target, _ = decode_target(text)
    assert (decoded + target).encode("utf-8").decode() == decoded + target


def test_a_target_is_decoded_as_an_application_reads_it():
    assert decode_target("/a+b?q=union+select%2b1") == ("/a+b?q=union select+1", ())
    assert decode_target("/..%5c..%5cwin.ini") == ("/../../win.ini", ())


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "access_token",
        "csrfToken",
        "password",
        "Passwd",
        "user[password]",
        "pwd",
        "pass",
        "code",
        "key",
        "api_key",
        "apiKey",
        "APIKEY",
        "X-Amz-Signature",
        "sig",
        "client_secret",
        "tok%65n",
        "jwt",
        "otp",
        "auth",
        "session",
        "%74oken",
        "authorization",
        "x.key",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)
    assert mask_query(f"a=1&{name}=s3cret'&b=2") == f"a=1&{name}=***&b=2"


@pytest.mark.parametrize(
    "name", ["q", "page", "keyword", "monkey", "zipcode", "author", "sort", "passage", "signal", "pinned"]
)
def test_names_of_no_secrets(name):
    assert not is_secret_name(name)
    assert mask_query(f"{name}=value") == f"{name}=value"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://x.example/cb?code=abc&state=1", "https://x.example/cb?code=***&state=1"),
        ("https://x.example/cb#access_token=abc&state=1", "https://x.example/cb#access_token=***&state=1"),
        ("https://x.example/cb?a=1#id_token=abc", "https://x.example/cb?a=1#id_token=***"),
        ("https://user:pa55@x.example/", "https://***@x.example/"),
        ("https://x.example/@handle", "https://x.example/@handle"),
        ("-", "-"),
        ("https://x.example/cb?token", "https://x.example/cb?token"),
        ("https://x.example/cb?a=1;token=abc", "https://x.example/cb?a=1;token=***"),
    ],
)
def test_urls_are_masked(url, masked):
    assert mask_url(url) == masked


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "token", "q", "sig"]), st.text(st.sampled_from("abc'%=+"), min_size=1, max_size=8)
        ),
        max_size=5,
    )
)
def test_masking_removes_every_secret_and_nothing_else(pairs):
    query = "&".join(f"{name}={value}" for name, value in pairs)
    expected = "&".join(f"{name}={'***' if name in {'token', 'sig'} else value}" for name, value in pairs)
    assert mask_query(query) == expected
    assert mask_query(expected) == expected


@given(st.text(st.sampled_from("abC./é茶 '"), min_size=1, max_size=15), st.integers(1, 3))
def test_what_was_encoded_up_to_three_times_comes_back(text, times):
    from unicodedata import normalize
    from urllib.parse import quote

    encoded = text
    for _ in range(times):
        encoded = quote(encoded, safe="" if times > 1 else "/")
    decoded, _ = decode(encoded)
    assert decoded == normalize("NFKC", text)


@given(st.text(st.sampled_from("ab/.%2eE5c\\;"), max_size=20))
def test_a_canonical_path_that_needs_no_more_decoding_is_its_own(raw):
    path, _ = canonical_path("/" + raw)
    if "%" not in path:
        assert canonical_path(path)[0] == path


@given(st.text(st.sampled_from("ab?#&=;:@/token"), max_size=30))
def test_masking_a_url_twice_is_masking_it_once(url):
    masked = mask_url(url)
    assert mask_url(masked) == masked


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
@pytest.mark.parametrize("name", ["token", "code", "sig", "access_token"])
def test_no_secret_survives_in_a_referer(scheme, name):
    for url in (
        f"{scheme}://x.example/?{name}=s3cret",
        f"{scheme}://x.example/a?b=1&{name}=s3cret#top",
        f"{scheme}://x.example/a#b=1&{name}=s3cret",
        f"{scheme}://u:s3cret@x.example/?{name}=s3cret",
        f"//u:s3cret@x.example/?{name}=s3cret&{name}=s3cret2",
    ):
        assert "s3cret" not in mask_url(url)
