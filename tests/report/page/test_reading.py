"""The reader of pages sees what it is there for."""

from __future__ import annotations

import pytest

from tests.report.page.reading import Document, faults

FRAME = "<title>t</title><header><h1>t</h1></header><nav></nav><main id='m'>{}</main><footer></footer>"


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("<script>1</script>", "<script>"),
        ("<p>", "</main> closes ['p']"),
        ("<table><caption>c</caption></table><table></table>", "a table has no caption"),
        ("<div role='img'></div>", "a drawing says nothing to those who can't see it"),
        ("<img src='http://x.org/a.png' alt=''>", "img src=http://x.org/a.png"),
        ("<p style='background:url(//x)'></p>", "p style=background:url(//x)"),
        ("<p onclick='f()'></p>", "p onclick=f()"),
        ("<a href='https://x.org'></a>", "a href=https://x.org leads nowhere"),
        ("<p id='m'></p>", "the id m stands there twice"),
        ("<style>@import 'x';</style>", "a style loads @import"),
        ("<main></main>", "2 times <main>"),
        ("<table><caption>c</caption><tr><th>h</th></tr></table>", "a heading of a table has no scope"),
    ],
)
def test_faults_are_seen(part: str, fault: str) -> None:
    assert faults(FRAME.format("<a href='#m'>fine</a>")) == []
    assert fault in faults(FRAME.format(part))


def test_text_is_what_is_shown() -> None:
    assert Document(FRAME.format("a&lt;b <style>c</style><p>d</p>")).text == "t a<b d"
