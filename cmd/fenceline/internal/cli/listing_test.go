package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	inspectroom "github.com/fenceline/fenceline/cmd/fenceline/internal/inspect"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/session"
)

func TestListingAsJSONIsWholeAndSafe(t *testing.T) {
	long := strings.Repeat("v", 100)
	want := &inspect.Snapshot{Revision: 9, Lines: []*inspect.Line{{Kind: app.ElectionKind, Name: "\u009b2J\U000e0001", Entries: []inspect.Entry{
		{Position: 1, State: inspect.Holds, Revision: 3, Lease: "1", Value: long,
			Session: &session.Record{Name: "ä\u009b", PID: 1, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}}}}}
	var out bytes.Buffer
	if err := inspectroom.PrintListing(&app.Globals{Output: app.OutputJSON}, &out, want); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\u009b\U000e0001\x7f") || !strings.Contains(out.String(), "ä") {
		t.Errorf("not safe to print: %q", out.String())
	}
	var got inspect.Snapshot
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	e := got.Lines[0].Entries[0]
	if got.Lines[0].Name != "\u009b2J\U000e0001" || e.Value != long || e.Revision != 3 || e.Lease != "1" || e.State != "holds" ||
		e.Session.Name != "ä\u009b" || !e.Session.Started.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("read back: %+v", got)
	}
}

func TestNoLinesAreAnEmptyListInJSON(t *testing.T) {
	var out bytes.Buffer
	inspectroom.PrintListing(&app.Globals{Output: app.OutputJSON}, &out, &inspect.Snapshot{Lines: []*inspect.Line{}})
	if !strings.Contains(out.String(), `"lines": []`) {
		t.Error(out.String())
	}
}

// squeeze leaves alignment to the table's own tests.
func squeeze(text string) string {
	var lines []string
	for l := range strings.Lines(strings.TrimSpace(text)) {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}
