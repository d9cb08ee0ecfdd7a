package queue

import (
	"encoding/json"
	"slices"
	"strings"
)

// setValue is the value of the entries of a set: in which lines they stand. With it anybody can tell whether who is first in one of them
// waits in another.
type setValue struct {
	Set []string `json:"set"` // prefixes
}

// maxSetValue bounds it, in bytes: the entries of a larger set do not say that they are of one.
const maxSetValue = 1024

// SetValue is the value of the entries of a set in the lines with these prefixes.
func SetValue(prefixes []string) string {
	text, err := json.Marshal(setValue{prefixes})
	if err != nil || len(text) > maxSetValue {
		return ""
	}
	return string(text)
}

// SetOf is in which other lines the set of e stands; nil: it is of none, or does not say so.
func SetOf(e Entry) (others []string) {
	var v setValue
	if len(e.Value) == 0 || len(e.Value) > maxSetValue || e.Value[0] != '{' || json.Unmarshal(e.Value, &v) != nil {
		return nil
	}
	mine := slices.IndexFunc(v.Set, func(prefix string) bool {
		rest, ours := strings.CutPrefix(e.Key, prefix)
		return ours && prefix != "" && !strings.Contains(rest, "/")
	})
	if mine < 0 { // somebody else's value
		return nil
	}
	return slices.Delete(v.Set, mine, mine+1)
}
