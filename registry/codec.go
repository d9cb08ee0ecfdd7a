package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
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

// foreign is what others may have written for an entry: fields of ours that are of another type are theirs.
type foreign struct {
	Op                            int
	Addr                          string
	Metadata                      json.RawMessage
	Status, Weight, Zone, Version json.RawMessage
}

// decode reads what we or others have written: JSON as etcd's package naming/endpoints has it; or host:port as the value; or any other
// value under such an ID, which is the address then. A status that we do not know is kept as it is: nobody picks such an instance.
func decode(id string, value []byte) (Instance, error) {
	if id == "" {
		return Instance{}, errors.New("no ID")
	}
	var e foreign
	err := json.Unmarshal(value, &e)
	switch {
	case err == nil && e.Op != 0:
		return Instance{}, fmt.Errorf("field Op is %d, which no stored entry has", e.Op)
	case err == nil && e.Addr != "":
		return e.instance(id), nil
	}
	plain := strings.Trim(strings.TrimSpace(string(value)), `"`)
	switch {
	case checkAddr(plain) == nil:
		return Instance{ID: id, Addr: plain, Status: Up, Weight: 1}, nil
	case checkAddr(id) == nil:
		return Instance{ID: id, Addr: id, Status: Up, Weight: 1, Meta: plainMeta(plain)}, nil
	case err != nil:
		return Instance{}, fmt.Errorf("neither JSON of an instance (%w), nor host:port", err)
	}
	return Instance{}, errors.New("no Addr")
}

func (e *foreign) instance(id string) Instance {
	in := Instance{ID: id, Addr: e.Addr, Status: Up, Weight: 1, Zone: intern(aString(e.Zone)), Version: intern(aString(e.Version))}
	if in.ID == in.Addr {
		in.Addr = in.ID
	}
	if status := aString(e.Status); status != "" {
		in.Status = Status(intern(status))
	}
	var weight int
	if json.Unmarshal(e.Weight, &weight) == nil {
		in.Weight = min(max(weight, 1), MaxWeight)
	}
	in.Meta = meta(e.Metadata)
	return in
}

// aString is the string that the JSON is; empty if it is something else.
func aString(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// plainMeta keeps a value that is not ours, if it is short.
func plainMeta(value string) map[string]string {
	if value == "" || len(value) > 256 || !utf8.ValidString(value) {
		return nil
	}
	return map[string]string{"value": intern(value)}
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
