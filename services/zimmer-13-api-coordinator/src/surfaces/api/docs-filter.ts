/** The filter of the API page: all that its script does. Without it the page is whole and unfiltered. */
export const docsFilter = `
const box = document.querySelector('#filter')
const nothing = document.querySelector('#nothing')
const shown = (item, yes) => { item.hidden = !yes }
const apply = () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean)
  let count = 0
  for (const item of document.querySelectorAll('[data-unfiltered]')) shown(item, words.length === 0)
  for (const tag of document.querySelectorAll('[data-tag]')) {
    let any = false
    for (const item of tag.querySelectorAll('[data-words]')) {
      const fits = words.every((word) => item.dataset.words.includes(word))
      shown(item, fits)
      any ||= fits
      if (fits && item.localName === 'article') count += 1
    }
    shown(tag, any)
  }
  shown(nothing, count === 0)
}
box.parentElement.hidden = false
box.addEventListener('input', () => { apply(); scrollTo(0, 0) })
addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== box) { event.preventDefault(); box.focus() }
  if (event.key === 'Escape' && document.activeElement === box) { box.value = ''; apply(); box.blur() }
})
addEventListener('hashchange', () => {
  const target = document.getElementById(location.hash.slice(1))
  if (target?.hidden) { box.value = ''; apply(); target.scrollIntoView() }
})
apply()
`
