// How the search ranks pages: Sphinx's points for the words, and some for where people find their answer.
const WHERE = [
  [/^tasks\/(?!index)/, 8],
  [/^understand\/(?!index)/, 6],
  [/^troubleshooting/, 6],
  [/^reference\/(?!api\/|index)/, 4],
  [/^learn\/(?!index)/, 2],
  [/^(changelog|contributing)/, -10],
  [/\bindex$/, -6],
];

// eslint-disable-next-line no-unused-vars -- searchtools.js reads it
var Scorer = {
  score: ([docname, , , , score, , kind]) => {
    const [, points] = WHERE.find(([place]) => place.test(docname)) ?? [null, 0];
    return score + points - (kind === "object" ? 8 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
