//! The style sheet. Colours are for what needs a look; everything else is grey.

pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--dim:#5d6b7c;--line:#d9dfe7;--track:#e8ecf1;--card:#f6f8fa;\
--good:#0b6b3a;--warn:#8f5200;--bad:#b8132a;--key:#2563c9;--other:#8fa3bd;--link:#1f56b3}\
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e3e8ee;--dim:#9aa7b6;--line:#2f3843;--track:#28313c;--card:#191f27;\
--good:#4cc38a;--warn:#e8a64a;--bad:#ff7480;--key:#6ea1ff;--other:#5d7391;--link:#8ab4ff}}\
*{box-sizing:border-box}\
body{margin:0 auto;padding:1rem 1.25rem 3rem;max-width:66rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;overflow-wrap:break-word}\
p,li,dd,h1,h2,.facts td{overflow-wrap:anywhere}\
header{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1.5rem;color:var(--dim);font-size:.87rem}header b{color:var(--fg)}\
p{margin:.25rem 0}a{color:var(--link)}h1{font-size:1.35rem;line-height:1.35;margin:.1rem 0 .5rem;font-weight:600}\
h2{font-size:1.1rem;margin:2.2rem 0 .4rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}\
h3{font-size:.95rem;margin:1.3rem 0 .3rem}.dim,h2 span{color:var(--dim);font-weight:normal}.bad{color:var(--bad)}.warn{color:var(--warn)}\
.verdict{margin:1rem 0;padding:.9rem 1.2rem;background:var(--card);border-left:.4rem solid var(--dim);border-radius:.25rem}\
.word{font-weight:700;text-transform:uppercase;letter-spacing:.06em;font-size:.85rem;color:var(--dim)}\
.well{border-color:var(--good)}.well .word{color:var(--good)}.well h1{margin:0}\
.attention{border-color:var(--warn)}.attention .word{color:var(--warn)}\
.failing{border-color:var(--bad)}.failing .word{color:var(--bad)}\
dl{display:grid;grid-template-columns:5.2rem 1fr;gap:.15rem .6rem;margin:.3rem 0}dt{color:var(--dim)}dd{margin:0}\
.also{margin-top:.9rem;color:var(--dim)}ol{margin:0;padding-left:1.3rem}li{margin:.5rem 0}.sentence{font-weight:600}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:normal;color:var(--dim)}\
.wide td,.wide th,.counts td+td,.counts th,.limits td,.limits th{white-space:nowrap}.wide td.wrap{white-space:normal;min-width:9rem}.code{font-family:ui-monospace,monospace;font-size:.85rem}\
.limits{width:100%;max-width:44rem}.limits td:last-child{width:40%;padding:.45rem 0 0}.limits td:first-child{white-space:normal}.limits th:last-child{padding:0}\
.timeline{width:100%;table-layout:fixed}.timeline td{border:0;padding:.1rem .6rem .1rem 0;vertical-align:middle}\
.timeline td:first-child{width:26%;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.timeline td+td{padding:.1rem 0}\
.axis{display:flex;justify-content:space-between;color:var(--dim);font-size:.8rem}\
svg{display:block;width:100%}.bar{height:.6rem}.row{height:.9rem}.plot{height:4.2rem;background:var(--card);border-bottom:1px solid var(--line)}\
.track{fill:var(--track)}.fill{fill:var(--key)}.full{fill:var(--bad)}.key{fill:var(--key)}.other{fill:var(--other)}.gone{fill:var(--other);opacity:.45}\
.tick{stroke:var(--dim);stroke-width:1.5}.mark{stroke:var(--fg);stroke-width:2}.fail{fill:var(--bad)}\
.tick,.mark,.line,.line2{vector-effect:non-scaling-stroke;fill:none}.line{stroke:var(--key);stroke-width:1.5}.line2{stroke:var(--other);stroke-width:1.5}\
.area{fill:var(--key);opacity:.6}.err{fill:var(--bad)}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.8rem 1.2rem;margin:.5rem 0}\
figure{margin:0;min-width:0}figcaption{font-size:.87rem}figcaption span{color:var(--dim)}\
@media(max-width:34rem){body{padding:.75rem .75rem 2rem}.verdict{padding:.75rem .9rem}h1{font-size:1.2rem}.facts th{width:7rem}td,th{padding-right:.6rem}\
.timeline td,.timeline td:first-child{display:block;width:100%;padding:.1rem 0}.timeline td:empty{display:none}}";
