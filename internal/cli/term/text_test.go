package term

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		Plain("a\x1b[2J\tb\xff"):                    "a?[2J?b?",
		Clip("abcdef", 6):                           "abcdef",
		Clip("äbcdefg", 6):                          "äbcde…",
		Size(1023):                                  "1023 B",
		Size(1536):                                  "1.5 KiB",
		Size(3 << 40):                               "3.0 TiB",
		Age(time.Now().Add(time.Hour)):              "0s",
		Age(time.Now().Add(-90 * time.Minute)):      "1h30m",
		Age(time.Now().Add(-50 * time.Hour)):        "2d",
		Time(time.Time{}):                           "never",
		Usage("`AGE` up to which events are"):       "age up to which events are",
		Usage("`URL` of NATS"):                      "URL of NATS",
		Usage("only those that contain `TEXT`"):     "only those that contain text",
		Usage("no placeholder"):                     "no placeholder",
		strings.Join(Fold("a bb ccc dddd", 6), "|"): "a bb|ccc|dddd",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A cell with line breaks stays in its row, and trailing blanks are not printed.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	err := Table(&out, []string{"NAME", "NOTE"}, [][]string{{"long name", "two\nlines"}, {"b", ""}})
	if want := "NAME       NOTE\nlong name  two lines\nb\n"; err != nil || out.String() != want {
		t.Errorf("got %q, %v, want %q", &out, err, want)
	}
}
