package rules

// Parse reads a rule file in YAML:
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
// Parse is strict: it returns an error for an unknown field, for a placeholder that no event can resolve, and for a file
// that exceeds a limit. It also rejects anchors, aliases and a second document, because they would let a small file use
// memory without bound. An error begins with name:line:column and shows the lines around that position; name is only used
// for errors.
func Parse(name string, data []byte) (*Set, error) {
	f := textFile{name: name, noun: "a rule file"}
	var content struct {
		Rules []rule `yaml:"rules"`
	}
	if err := f.decode(data, &content); err != nil {
		return nil, err
	}
	switch {
	case len(content.Rules) == 0:
		return nil, f.errorAt(nil, "no rules in the file; want a list under rules:")
	case len(content.Rules) > MaxRules:
		return nil, f.errorfAt(nil, "%d rules in the file; want at most %d", len(content.Rules), MaxRules)
	}
	var list []compiled
	for i := range content.Rules {
		each, problem := content.Rules[i].compile(i)
		if problem != nil {
			return nil, f.errorIn("rules", i, problem)
		}
		list = append(list, each...)
		if len(list) > MaxSubjects {
			return nil, f.errorIn("rules", i, faultf("subject", -1, "too many subjects in the file; want at most %d", MaxSubjects))
		}
	}
	return newSet(list), nil
}
