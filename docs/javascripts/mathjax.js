// Formulas of the pages, which pymdownx.arithmatex marks; the script of MathJax itself comes after this one.
window.MathJax = {
  tex: {
    inlineMath: [['\\(', '\\)']],
    displayMath: [['\\[', '\\]']],
    processEscapes: true,
    processEnvironments: true,
  },
  options: { ignoreHtmlClass: '.*|', processHtmlClass: 'arithmatex' },
};
