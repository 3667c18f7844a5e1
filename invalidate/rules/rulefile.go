package rules

import "fmt"

// Parse reads a rule file:
//
//	rules:
//	  - subject: users.*.updated
//	    keys: ["user:$1:profile", "user:$1:orders", "users:all"]
//	    tags: ["group:users"]
//	    prefix: ["", "MyApp:"]
//	    on: [update, delete]
//	    echo: [1s, 30s]
//	    ttl: [54m, 66m]
//	    version: {event: version, value: version}
//	  - {subject: [reports.>, files.>], headers: true, echo: off}
//
// It is strict: an unknown field, a placeholder that cannot be resolved and everything beyond the limits is
// an error, so that a rule either works for an event or the event is at fault. An error begins with
// name:line:column and shows the lines around it. Anchors, aliases and a second document are refused: they
// let a small file grow without bound.
func Parse(name string, data []byte) (*Set, error) {
	f := textFile{name: name, noun: "a rule file"}
	var content struct {
		Rules []Rule `yaml:"rules"`
	}
	if err := f.decode(data, &content); err != nil {
		return nil, err
	}
	switch {
	case len(content.Rules) == 0:
		return nil, f.errorAt(nil, "the file has no rules")
	case len(content.Rules) > MaxRules:
		return nil, f.errorAt(nil, fmt.Sprintf("the file has %d rules, the limit is %d", len(content.Rules), MaxRules))
	}
	var list []compiled
	for i := range content.Rules {
		each, bad := content.Rules[i].compile(i)
		if bad != nil {
			return nil, f.errorIn("rules", i, bad)
		}
		list = append(list, each...)
		if len(list) > MaxSubjects {
			return nil, f.errorIn("rules", i, wrong("subject", -1, "the file has more than %d subjects", MaxSubjects))
		}
	}
	return newSet(list), nil
}
