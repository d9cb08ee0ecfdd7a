package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unique"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// entry is the JSON of an instance: the first three are etcd's own, from its package naming/endpoints.
type entry struct {
	Op       int
	Addr     string
	Metadata json.RawMessage
	Status   Status `json:",omitempty"`
	Weight   int    `json:",omitempty"`
	Zone     string `json:",omitempty"`
	Version  string `json:",omitempty"`
}

// encode is the value of an instance that was checked. What is as by default is left out.
func encode(in Instance) string {
	meta, _ := json.Marshal(in.Meta) // strings; nil is null, as etcd's package writes it
	e := entry{Addr: in.Addr, Metadata: meta, Zone: in.Zone, Version: in.Version}
	if in.Status != Up {
		e.Status = in.Status
	}
	if in.Weight != 1 {
		e.Weight = in.Weight
	}
	text, _ := json.Marshal(e)
	return string(text)
}

// decode reads what we or others have written. A status that we do not know is kept as it is: nobody picks such an
// instance.
func decode(id string, value []byte) (Instance, error) {
	var e entry
	if err := json.Unmarshal(value, &e); err != nil {
		return Instance{}, fmt.Errorf("no JSON of an instance: %w", err)
	}
	switch {
	case id == "":
		return Instance{}, errors.New("no ID")
	case e.Op != 0:
		return Instance{}, fmt.Errorf("field Op is %d, which no stored entry has", e.Op)
	case e.Addr == "":
		return Instance{}, errors.New("no Addr")
	}
	in := Instance{ID: id, Addr: e.Addr, Status: Up, Weight: min(max(e.Weight, 1), MaxWeight), Zone: intern(e.Zone), Version: intern(e.Version)}
	if in.ID == in.Addr {
		in.Addr = in.ID
	}
	if e.Status != "" {
		in.Status = Status(intern(string(e.Status)))
	}
	in.Meta = meta(e.Metadata)
	return in, nil
}

// intern has instances share what is the same for many.
func intern(s string) string { return unique.Make(s).Value() }

// meta reads metadata, which strangers may have as any JSON: members that are no strings keep their JSON as text, and
// what is no object stands under one key.
func meta(raw json.RawMessage) map[string]string {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return map[string]string{"metadata": text(raw)}
	}
	m := make(map[string]string, len(members))
	for k, v := range members {
		m[intern(k)] = text(v)
	}
	return m
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// parse reads an entry below prefix.
func parse(prefix string, kv *mvccpb.KeyValue) (service string, in Instance, err error) {
	service, id, ok := parseKey(prefix, string(kv.Key))
	if !ok {
		return "", Instance{}, errors.New("no key of an instance")
	}
	in, err = decode(id, kv.Value)
	return service, in, err
}

// parseKey takes a key below prefix apart. The ID of a stranger's entry may hold slashes.
func parseKey(prefix, key string) (service, id string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return "", "", false
	}
	service, id, ok = strings.Cut(rest, "/")
	return service, id, ok && service != "" && id != ""
}
