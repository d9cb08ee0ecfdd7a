package registry

import (
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestEntriesOfStrangersAreReadOrKeptOut(t *testing.T) {
	plain := Instance{ID: "x", Addr: "a:1", Status: Up, Weight: 1}
	with := func(f func(*Instance)) Instance { in := plain; f(&in); return in }
	for value, want := range map[string]Instance{
		`{"Op":0,"Addr":"a:1","Metadata":null}`:             plain,
		`{"addr":"a:1","other":[1]}`:                        plain,
		`{"Addr":"a:1","Metadata":{}}`:                      plain,
		`{"Addr":"a:1","Weight":-5}`:                        plain,
		`{"Addr":"a:1","Weight":9999999}`:                   with(func(in *Instance) { in.Weight = MaxWeight }),
		`{"Addr":"a:1","Status":"resting"}`:                 with(func(in *Instance) { in.Status = "resting" }),
		`{"Addr":"a:1","Zone":"z","Version":"1"}`:           with(func(in *Instance) { in.Zone, in.Version = "z", "1" }),
		`{"Addr":"a:1","Metadata":"v2"}`:                    with(func(in *Instance) { in.Meta = map[string]string{"metadata": "v2"} }),
		`{"Addr":"a:1","Metadata":[1, 2]}`:                  with(func(in *Instance) { in.Meta = map[string]string{"metadata": "[1,2]"} }),
		`{"Addr":"a:1","Metadata":{"a":"b","n":1,"o":{ }}}`: with(func(in *Instance) { in.Meta = map[string]string{"a": "b", "n": "1", "o": "{}"} }),
	} {
		got, err := decode("x", []byte(value))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for value, want := range map[string]Instance{
		`a:1`:                                    plain,
		"\"a:1\"\n":                              plain,
		`{"Addr":"a:1","Version":2}`:             plain,
		`{"Addr":"a:1","weight":"10"}`:           plain,
		`{"Addr":"a:1","status":200,"zone":[1]}`: plain,
	} {
		got, err := decode("x", []byte(value))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for value, meta := range map[string]string{"": "", "available": "available", `{"load":3}`: `{"load":3}`, "[]": "[]", `{"Addr":""}`: `{"Addr":""}`,
		strings.Repeat("x", 1000): "", "\xff": ""} {
		got, err := decode("10.0.0.1:80", []byte(value))
		if err != nil || got.Addr != "10.0.0.1:80" || got.ID != got.Addr || got.Status != Up || got.Meta["value"] != meta {
			t.Errorf("%.20q: %+v, %v", value, got, err)
		}
	}
	for _, value := range []string{``, `nonsense`, `[]`, `{}`, `{"Addr":""}`, `{"Op":1,"Addr":"a:1"}`, `{"Addr":7}`} {
		if in, err := decode("x", []byte(value)); err == nil {
			t.Errorf("%s: %+v", value, in)
		}
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	for _, in := range []Instance{
		{ID: "x", Addr: "a:1", Status: Up, Weight: 1},
		{ID: "x", Addr: "[::1]:1", Status: Starting, Weight: 7, Zone: "z", Version: "1", Meta: map[string]string{"a": "", "": "b", "<": "é\""}},
	} {
		if got, err := decode("x", []byte(encode(in))); err != nil || !got.Equal(in) {
			t.Errorf("%s: %+v, %v", encode(in), got, err)
		}
	}
}

func TestKeysAreTakenApart(t *testing.T) {
	for key, want := range map[string][2]string{
		"services/a/b":     {"a", "b"},
		"services/a/b/c":   {"a", "b/c"},
		"services/a/[::]:": {"a", "[::]:"},
		"services/a/":      {},
		"services/a":       {},
		"services//b":      {},
		"other/a/b":        {},
	} {
		service, id, ok := parseKey("services/", key)
		if ok != (want[0] != "") || ok && (service != want[0] || id != want[1]) {
			t.Errorf("%s: %q, %q, %v", key, service, id, ok)
		}
	}
}

func TestEtcdsOwnNamingReadsOursAndWeReadTheirs(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	theirs, err := endpoints.NewManager(client, "services/"+name)
	if err != nil {
		t.Fatal(err)
	}
	registered(t, opened(t, client), name, Instance{ID: "ours", Addr: "10.0.0.1:80", Weight: 3, Meta: map[string]string{"k": "v"}})
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.AddEndpoint(t.Context(), "services/"+name+"/theirs", endpoints.Endpoint{Addr: "10.0.0.2:80", Metadata: map[string]any{"n": 1}}, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	all, err := theirs.List(t.Context())
	if err != nil || len(all) != 2 || all["services/"+name+"/ours"].Addr != "10.0.0.1:80" {
		t.Errorf("they read %v, %v", all, err)
	}
	ins, err := Lookup(t.Context(), client, name)
	if err != nil || len(ins) != 2 || ins[1].Addr != "10.0.0.2:80" || ins[1].Meta["n"] != "1" {
		t.Errorf("we read %v, %v", ins, err)
	}
}
