/** The style sheet of the API page. System fonts and two palettes: nothing is fetched. */
export const docsStyle = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#fbfaf7, #14171a);
  --card: light-dark(#ffffff, #1b1f24);
  --line: light-dark(#e4e0d7, #2e353d);
  --text: light-dark(#22262b, #dfe3e8);
  --quiet: light-dark(#666c74, #939ca7);
  --accent: light-dark(#9a3412, #f0a36b);
  --code: light-dark(#f3f0e9, #262c34);
  --read: light-dark(#1d6b4f, #6fcf9f);
  --write: light-dark(#1f5fa8, #7ab4f5);
  --destructive: light-dark(#b3261e, #f28b82);
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace;
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0;
  background: var(--ground);
  color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 3px; }
code, pre, kbd { font-family: var(--mono); font-size: 0.875em; }
:not(pre) > code { background: var(--code); border-radius: 4px; padding: 0.1em 0.35em; overflow-wrap: anywhere; }
.frame { display: grid; grid-template-columns: 17.5rem minmax(0, 1fr); max-width: 84rem; margin: 0 auto; }
nav {
  position: sticky; top: 0; align-self: start; height: 100vh; overflow-y: auto;
  padding: 1.75rem 1.25rem 2rem; border-right: 1px solid var(--line);
}
nav .house { display: flex; align-items: baseline; gap: 0.5rem; margin: 0 0 1rem; font-weight: 650; font-size: 1.15rem; }
nav .house a { color: inherit; text-decoration: none; }
nav .house span { color: var(--quiet); font-weight: 400; font-size: 0.85rem; }
nav summary { cursor: pointer; color: var(--quiet); font-size: 0.9rem; margin-bottom: 0.5rem; }
nav h2 { margin: 1.1rem 0 0.3rem; font-size: 0.72rem; letter-spacing: 0.07em; text-transform: uppercase; color: var(--quiet); }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li a {
  display: block; padding: 0.22rem 0.5rem; margin: 0 -0.5rem; border-radius: 6px;
  color: inherit; text-decoration: none; font-size: 0.9rem; line-height: 1.35;
}
nav li a:hover { background: var(--code); color: var(--accent); }
input[type='search'] {
  width: 100%; padding: 0.5rem 0.7rem; margin-bottom: 0.5rem; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); color: inherit; font: inherit; font-size: 0.92rem;
}
input[type='search']:focus-visible, a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
main { padding: 2rem clamp(1rem, 4vw, 3.5rem) 6rem; min-width: 0; }
main > header { max-width: 46rem; }
h1 { font-size: clamp(1.7rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 0.75rem; }
.lead { font-size: 1.1rem; color: var(--quiet); margin: 0 0 1.25rem; }
.tag { margin-top: 3.25rem; }
.tag > h2 { font-size: 1.4rem; letter-spacing: -0.01em; margin: 0; }
.tag > p { color: var(--quiet); margin: 0.15rem 0 1.25rem; }
article {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.15rem clamp(1rem, 2.5vw, 1.6rem) 1.3rem; margin: 0 0 1.1rem; scroll-margin-top: 1rem;
}
article:target { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
article h3 { margin: 0; font-size: 1.08rem; line-height: 1.35; }
article h3 a { color: inherit; text-decoration: none; }
article h3 a:hover { color: var(--accent); }
.route { display: flex; flex-wrap: wrap; align-items: center; gap: 0.35rem 0.6rem; margin: 0.45rem 0 0; font-family: var(--mono); font-size: 0.875rem; }
.route .path { overflow-wrap: anywhere; }
.method { font-weight: 700; letter-spacing: 0.02em; }
.badges { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0.6rem 0 0; padding: 0; list-style: none; font-size: 0.78rem; }
.badges li { border: 1px solid var(--line); border-radius: 99px; padding: 0.08rem 0.6rem; color: var(--quiet); }
.read { color: var(--read); } .write { color: var(--write); } .destructive { color: var(--destructive); }
.badges .read, .badges .write, .badges .destructive { border-color: currentColor; color: var(--tone); font-weight: 600; }
.badges .read { --tone: var(--read); } .badges .write { --tone: var(--write); } .badges .destructive { --tone: var(--destructive); }
article > p { margin: 0.75rem 0 0; max-width: 46rem; }
h4 { margin: 1.2rem 0 0.4rem; font-size: 0.72rem; letter-spacing: 0.07em; text-transform: uppercase; color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th { text-align: left; font-weight: 600; color: var(--quiet); font-size: 0.8rem; }
th, td { padding: 0.4rem 0.9rem 0.4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td:first-child { font-family: var(--mono); font-size: 0.84rem; white-space: nowrap; }
td small { color: var(--quiet); font-size: 0.82rem; }
.required { color: var(--accent); font-family: inherit; }
.type { color: var(--quiet); white-space: nowrap; }
details > summary { cursor: pointer; color: var(--quiet); font-size: 0.9rem; margin-top: 0.9rem; width: fit-content; }
details > summary:hover { color: var(--accent); }
pre { background: var(--code); border-radius: 8px; padding: 0.8rem 1rem; overflow-x: auto; margin: 0.5rem 0 0; line-height: 1.5; tab-size: 2; }
.status { font-family: var(--mono); font-weight: 600; }
dl.answers { margin: 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.2rem 0.9rem; font-size: 0.92rem; }
dl.answers dt { font-family: var(--mono); font-size: 0.875rem; }
dl.answers dd { margin: 0; }
.codes { font-size: 0.88rem; }
.codes td:last-child { line-height: 1.9; }
.codes a { text-decoration: none; }
.nothing { color: var(--quiet); }
[hidden] { display: none !important; }
@media (max-width: 56rem) {
  .frame { display: block; }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); padding: 1.1rem 1rem 0.75rem; }
  main { padding-top: 1.5rem; }
  .tag { margin-top: 2.5rem; }
  table.fields thead { display: none; }
  table.fields tr { display: block; padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
  table.fields tr:last-child { border-bottom: 0; }
  table.fields td { display: block; border: 0; padding: 0.1rem 0; white-space: normal; overflow-wrap: anywhere; }
  table.fields td:nth-child(2), table.fields td:nth-child(3) { display: inline; }
  table.fields td:nth-child(2) { margin-right: 0.6rem; }
}
@media (min-width: 56.01rem) {
  nav details > summary { display: none; }
  nav details::details-content { content-visibility: visible; display: contents; }
}
@media print {
  nav { display: none; }
  .frame { display: block; }
}
`
