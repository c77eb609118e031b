"""The stylesheet of all drawings: what each class looks like, by light and by dark.

The hues stay apart for readers who see red and green alike: good is blue-green and pale, bad is
red and strong, what is quarantined is violet and hatched, what is flaky carries an amber mark.
"""

from __future__ import annotations

STYLE = """
:root{--wt-ink:#1c2530;--wt-dim:#66717f;--wt-line:#d8dee6;--wt-track:#f1f4f7;--wt-paper:#fff;
--wt-good:#5aa9a3;--wt-good-soft:#b4dad6;--wt-bad:#cf2f3c;--wt-bad-soft:#efa5aa;
--wt-skip:#b3bcc7;--wt-flaky:#e39a00;--wt-quarantine:#8a63c9;--wt-bound:#2f6fd6}
@media(prefers-color-scheme:dark){:root{--wt-ink:#e4e9ef;--wt-dim:#96a2b1;--wt-line:#333d49;
--wt-track:#1e252d;--wt-paper:#14191f;--wt-good:#3f938d;--wt-good-soft:#2a5f5c;--wt-bad:#f0555f;
--wt-bad-soft:#8d343b;--wt-skip:#5a6572;--wt-flaky:#f2b33d;--wt-quarantine:#a585e0;
--wt-bound:#6ea0f5}}
.wt-drawing{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
max-width:100%;height:auto;font-variant-numeric:tabular-nums}
.wt-drawing text{fill:var(--wt-ink)}.wt-drawing .wt-dim{fill:var(--wt-dim)}
.wt-track{fill:var(--wt-track)}.wt-tick{stroke:var(--wt-line);stroke-width:1}
.wt-good{fill:var(--wt-good)}.wt-good .wt-edge{fill:var(--wt-good-soft)}
.wt-bad{fill:var(--wt-bad)}.wt-bad .wt-edge{fill:var(--wt-bad-soft)}
.wt-skip{fill:var(--wt-skip)}.wt-flaky{fill:var(--wt-flaky)}
.wt-hatch{fill:url(#wt-hatch)}.wt-hatch-line{stroke:var(--wt-quarantine);stroke-width:2.5}
.wt-bound{stroke:var(--wt-bound);stroke-width:1.5;stroke-dasharray:5 3}
.wt-drawing text.wt-bound-label{fill:var(--wt-bound)}
.wt-end{stroke:var(--wt-ink);stroke-width:1.5}
.wt-interval{fill:var(--wt-bad-soft)}.wt-value{fill:var(--wt-bound)}
.wt-curve{fill:none;stroke:var(--wt-bound);stroke-width:1.5}
.wt-halo{paint-order:stroke;stroke:var(--wt-paper);stroke-width:4px;stroke-linejoin:round}
.wt-drawing text.wt-verdict{fill:var(--wt-bad);font-weight:600}
.wt-arrow{fill:none;stroke:var(--wt-ink);stroke-width:1.25}
.wt-arrow-skip{stroke:var(--wt-dim);stroke-dasharray:2 3}
.wt-arrow-bad{stroke:var(--wt-bad);stroke-dasharray:5 3}.wt-cross{stroke:var(--wt-bad);
stroke-width:2}.wt-head-good{fill:var(--wt-ink)}.wt-head-skip{fill:var(--wt-dim)}
.wt-gone{stroke:var(--wt-bad-soft);stroke-width:2;stroke-dasharray:1 6}
.wt-paused{stroke:var(--wt-skip);stroke-width:5}
.wt-across-bad{stroke:var(--wt-bad);stroke-width:1.5}
.wt-across-good{stroke:var(--wt-good);stroke-width:1.5}
.wt-across-skip{stroke:var(--wt-line);stroke-width:1;stroke-dasharray:5 3}
""".strip()
