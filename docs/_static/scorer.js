// How the search ranks: as Sphinx does by default, with pages that name everything (all messages, the changelog, tables of
// what was measured) behind those that explain it.
var Scorer = {
  score: ([docname, , , , score]) => {
    if (docname === "reference/messages" || docname === "project/changelog") return score * 0.1;
    return /^(benchmarks\/|coverage|architecture|flexpooling|paper)/.test(docname) ? score * 0.3 : score;
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
