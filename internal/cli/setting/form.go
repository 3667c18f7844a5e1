package setting

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

// A form is the form that the value of a setting must have. check decides; the schema, for editors, can express less.
type form struct {
	check  Checker
	schema []property // alternatives; none means any text
	many   bool       // it is a list
}

// A Checker returns nil for a valid value. For any other it returns an error that names what is wanted and quotes the
// value.
type Checker func(value string) error

var (
	listOfTexts  = form{schema: []property{anyText, listOf(anyText)}, many: true}
	yesOrNo      = form{check: boolean, schema: []property{{Type: "boolean"}}}
	anyTime      = form{check: duration, schema: []property{{Ref: timeRef}}}
	someTime     = form{check: positive, schema: []property{{Ref: timeRef}}}
	oneSecond    = form{check: atLeastSecond, schema: []property{{Ref: timeRef}}}
	ageInDays    = form{check: retention, schema: []property{{Ref: timeRef}, {Type: "string", Pattern: `^[0-9]+(\.[0-9]*)?d$`}}}
	listOfDelays = form{check: delays, many: true, schema: []property{
		{Enum: []string{"off"}}, {Type: "string", Pattern: `^` + timeText + `(\s*,\s*` + timeText + `)*$`}, listOf(property{Ref: timeRef}),
	}}
	fraction = form{check: share, schema: []property{{Type: "number", Above: new(0), Most: new(1)}}}
)

func choice(choices ...string) form {
	return form{check: OneOf(choices...), schema: []property{{Enum: choices}}}
}

func whole(least, most int) form {
	return form{check: number(least, most), schema: []property{{Type: "integer", Least: &least, Most: &most}}}
}

// want is the error of a Checker.
func want(what, value string) error { return fmt.Errorf("want %s, got %q", what, value) }

// OneOf accepts the choices, and suggests the nearest for a value that is none of them.
func OneOf(choices ...string) Checker {
	return func(value string) error {
		if slices.Contains(choices, value) {
			return nil
		}
		return fmt.Errorf("want %s, got %q%s", strings.Join(choices, " or "), value, exit.Suggest(value, choices))
	}
}

func number(least, most int) Checker {
	return func(value string) error {
		if n, err := strconv.Atoi(value); err != nil || n < least || n > most {
			return want(fmt.Sprintf("a whole number from %d to %d", least, most), value)
		}
		return nil
	}
}

func duration(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d < 0 {
		return want("a time such as 500ms, 10s or 72h", value)
	}
	return nil
}

func positive(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d <= 0 {
		return want("a time above 0 such as 500ms or 10s", value)
	}
	return nil
}

func atLeastSecond(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d < time.Second {
		return want("a time of at least 1s such as 10s", value)
	}
	return nil
}

// delays accepts a list of times, or off.
func delays(value string) error {
	if value == "off" {
		return nil
	}
	for _, item := range Split(value) {
		if d, err := time.ParseDuration(item); err != nil || d < time.Millisecond || d > time.Hour {
			return want("times from 1ms to 1h such as 5s or 1s,30s, or off", value)
		}
	}
	return nil
}

func share(value string) error {
	if f, err := strconv.ParseFloat(value, 64); err != nil || !(f > 0 && f <= 1) {
		return want("a number above 0 and at most 1 such as 0.01", value)
	}
	return nil
}

// retentionFloor is the shortest retention that is accepted.
const retentionFloor = 24 * time.Hour

func retention(value string) error {
	if d, err := Days(value); err != nil || d != 0 && d < retentionFloor {
		return want("a time of at least 24h such as 36h or 7d, or 0s to keep events indefinitely", value)
	}
	return nil
}

// Days parses a time as time.ParseDuration does, or a number of days such as 7d. It must not be negative, and at most
// 36500 days where it is in days.
func Days(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0 && n <= 36500) {
			return 0, fmt.Errorf("invalid number of days %q; want 7d", number)
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("invalid time %s; want 0 or more", text)
	}
	return d, err
}

func boolean(value string) error {
	if value != "true" && value != "false" {
		return want("true or false", value)
	}
	return nil
}

func inboxPrefix(value string) error {
	if strings.ContainsAny(value, " \t\r\n*>") || strings.HasPrefix(value, ".") || strings.HasSuffix(value, ".") || strings.Contains(value, "..") {
		return want("the beginning of a subject such as _INBOX_mine, without wildcards and without a dot at its end", value)
	}
	return nil
}

func address(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return want("host:port, or :port for 127.0.0.1", value)
	}
	return nil
}
