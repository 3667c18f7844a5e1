package help

import "testing"

// A line of text is never taken for a macro or an escape.
func TestTextIsEscaped(t *testing.T) {
	var p page
	p.text(`.TH 'x' \n`)
	p.text(`'so`)
	if want := "\\&.TH \\(aqx\\(aq \\en\n\\(aqso\n"; p.String() != want {
		t.Errorf("%q, want %q", p.String(), want)
	}
}
