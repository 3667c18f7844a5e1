package rules

// The types of a rule file, which TestSchema compares with the schema.
type (
	Rule         = rule
	Texts        = texts
	VersionPaths = versionPaths
)
