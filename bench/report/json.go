package report

import (
	"encoding/json"
	"io"

	"github.com/fenceline/fenceline/bench"
)

// JSON writes r as one object, indented; its "schema" is bench.Schema.
func JSON(w io.Writer, r *bench.Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
