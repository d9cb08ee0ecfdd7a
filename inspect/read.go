package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// Option is an option of all that look at lines: it says in which namespace they are.
type Option interface {
	ReadOption
	ActOption
	any(o *options)
}

// ReadOption is an option of Read: it says which lines.
type ReadOption interface{ read(o *options) }

// ActOption is an option of Break and Ask.
type ActOption interface{ act(o *options) }

type (
	option     func(*options)
	readOption func(*options)
	actOption  func(*options)
)

func (f option) any(o *options)      { f(o) }
func (f option) read(o *options)     { f(o) }
func (f option) act(o *options)      { f(o) }
func (f readOption) read(o *options) { f(o) }
func (f actOption) act(o *options)   { f(o) }

type options struct {
	namespace string
	prefix    string // instead of kind and name
	kind      string // empty: all
	name      string // empty: all of the kind
	services  string // prefix; empty: they are not read
	actor     string
}

// WithNamespace looks at the lines of Sessions that were opened with this namespace, as session.WithNamespace sets it. The default is
// "fenceline/".
func WithNamespace(prefix string) Option {
	return option(func(o *options) { o.namespace = prefix })
}

// WithPrefix reads only the line under a raw prefix, as lock.WithPrefix, election.WithPrefix and "etcdctl lock" use it.
func WithPrefix(prefix string) ReadOption {
	return readOption(func(o *options) { o.prefix = prefix })
}

// WithKind reads only the lines of one kind: one of Kinds.
func WithKind(kind string) ReadOption { return readOption(func(o *options) { o.kind = kind }) }

// WithLine reads only one line.
func WithLine(kind, name string) ReadOption {
	return readOption(func(o *options) { o.kind, o.name = kind, name })
}

// WithServices reads the services under this prefix as well, as registry.WithPrefix sets it: "services/" by default there.
func WithServices(prefix string) ReadOption {
	return readOption(func(o *options) {
		if o.services = prefix; !strings.HasSuffix(prefix, "/") {
			o.services += "/"
		}
	})
}

func optionsOf[O any](opts []O, apply func(O, *options)) (options, error) {
	o := options{namespace: "fenceline/"}
	for _, opt := range opts {
		apply(opt, &o)
	}
	return o, o.check()
}

func (o *options) check() error {
	switch {
	case o.namespace == "":
		return errors.New("inspect: the namespace is empty")
	case o.prefix != "" && o.kind != "":
		return fmt.Errorf("inspect: prefix %q is instead of a kind and a name", o.prefix)
	case o.name != "":
		return keyspace.CheckName(o.kind, o.name)
	}
	return nil
}

// optionsOfLine are those of one line, which has to have a name.
func optionsOfLine[O any](kind, name string, opts []O, apply func(O, *options)) (options, error) {
	if err := keyspace.CheckName(kind, name); err != nil {
		return options{}, err
	}
	o, err := optionsOf(opts, apply)
	if err != nil {
		return o, err
	}
	if kind == Prefix {
		o.prefix = name
	} else {
		o.kind, o.name = kind, name
	}
	return o, o.check()
}

// sessions and notes are prefixes.
func (o *options) sessions() string { return keyspace.Sessions(o.namespace) }
func (o *options) notes() string    { return keyspace.Since(o.namespace, o.entries()) }

// entries is the prefix of the entries that are asked for; the namespace's if all are.
func (o *options) entries() string {
	switch {
	case o.prefix != "":
		return o.prefix + "/"
	case o.name != "":
		return keyspace.Line(o.namespace, o.kind, o.name)
	case o.kind != "":
		return o.namespace + o.kind + "/"
	}
	return o.namespace
}

// ranges are the prefixes to read: the entries, and the sessions and notes if those are not among them. The last is optional: a role may lack it.
func (o *options) ranges() (needed []string, optional string) {
	needed = []string{o.entries()}
	if o.entries() != o.namespace {
		needed, optional = append(needed, o.sessions()), o.notes()
	}
	if o.services != "" {
		needed = append(needed, o.services)
	}
	return needed, optional
}

// Read reads all lines of the namespace, or those that the options name, in one transaction: at one revision, whoever writes meanwhile. ctx
// bounds it, or 5 s when ctx has no deadline. The error says what etcd has against it, and which keys the user's role has to be allowed to
// read. Without the notes under <namespace>since/, which a role may lack, there are no times.
func Read(ctx context.Context, c *clientv3.Client, opts ...ReadOption) (*Snapshot, error) {
	o, err := optionsOf(opts, ReadOption.read)
	if err != nil {
		return nil, err
	}
	return o.read(ctx, c)
}

func (o *options) read(ctx context.Context, c *clientv3.Client) (*Snapshot, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	var ops []clientv3.Op
	needed, optional := o.ranges()
	for _, prefix := range needed {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	all := ops
	if optional != "" {
		all = append(ops[:len(ops):len(ops)], clientv3.OpGet(optional, clientv3.WithPrefix()))
	}
	resp, err := c.Txn(ctx).Then(all...).Commit()
	if errors.Is(err, rpctypes.ErrPermissionDenied) && optional != "" { // times are not worth a refusal
		resp, err = c.Txn(ctx).Then(ops...).Commit()
	}
	if err != nil {
		return nil, o.explain(c, err)
	}
	var kvs []*mvccpb.KeyValue
	for i, r := range resp.Responses {
		if i != len(needed)-1 || o.services == "" {
			kvs = append(kvs, r.GetResponseRange().Kvs...)
		}
	}
	s := o.snapshot(resp.Header.Revision, kvs)
	if o.entries() == o.namespace {
		s.Jobs = cron.JobsIn(o.namespace, slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool {
			return !strings.HasPrefix(string(kv.Key), o.namespace+cronKind+"/")
		}), s.read)
	}
	if o.services != "" {
		s.Services = registry.InstancesIn(o.services, resp.Responses[len(needed)-1].GetResponseRange().Kvs)
	}
	if err := o.askElsewhere(ctx, c, s); err != nil {
		return nil, o.explain(c, err)
	}
	s.askHowLong(ctx, c)
	return s, nil
}

// explain says what etcd had against reading. Which of the ranges it denies, etcd does not say.
func (o *options) explain(c *clientv3.Client, err error) error {
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return etcd.Explain(c, err, o.entries())
	}
	var keys []string
	needed, _ := o.ranges()
	for _, prefix := range needed {
		keys = append(keys, fmt.Sprintf("%q*", prefix))
	}
	return fmt.Errorf("etcd denies access to keys %s: the user's role needs read on what has that prefix: %w", strings.Join(keys, " or "), err)
}

// Front reads one line, as Read does, but with whose the entries are of the first ones only: for somebody who waits in it, and asks often.
func Front(ctx context.Context, c *clientv3.Client, kind, name string, opts ...Option) (*Line, error) {
	o, err := optionsOfLine(kind, name, opts, Option.any)
	if err != nil {
		return nil, err
	}
	resp, err := c.Get(ctx, o.entries(), clientv3.WithPrefix())
	if err != nil {
		return nil, o.explain(c, err)
	}
	s := o.snapshot(resp.Header.Revision, resp.Kvs)
	if len(s.Lines) == 0 {
		return &Line{Kind: o.kind, Name: o.name}, nil
	}
	o.meet(ctx, c, s.Lines[0].Entries)
	_ = o.askElsewhere(ctx, c, s) // then it counts as one who holds
	return s.Lines[0], nil
}

// mostMet is of how many in front it is asked whose they are.
const mostMet = 6

// meet reads whose the first of these entries are, as far as etcd tells. A record that hangs on another lease is a copy.
func (o *options) meet(ctx context.Context, c *clientv3.Client, entries []Entry) {
	for i := range entries[:min(len(entries), mostMet)] { // some of them may be the asker's own
		e := &entries[i]
		if e.Session != nil || e.owner == clientv3.NoLease {
			continue
		}
		resp, err := c.Get(ctx, keyspace.Session(o.namespace, e.owner))
		if err != nil {
			return
		}
		record := new(session.Record)
		if len(resp.Kvs) == 1 && clientv3.LeaseID(resp.Kvs[0].Lease) == e.owner && json.Unmarshal(resp.Kvs[0].Value, record) == nil {
			e.Session = record
		}
	}
}

// askElsewhere does for one line that was asked for what together does for all: whether its first one waits in another.
func (o *options) askElsewhere(ctx context.Context, c *clientv3.Client, s *Snapshot) error {
	if o.kind != Lock || o.name == "" || len(s.Lines) == 0 {
		return nil
	}
	e, at := &s.Lines[0].Entries[0], clientv3.WithRev(s.Revision)
	set, err := c.Get(ctx, o.namespace+Lock+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), at,
		clientv3.WithMinCreateRev(e.Revision), clientv3.WithMaxCreateRev(e.Revision))
	if err != nil {
		return err
	}
	for _, kv := range set.Kvs {
		_, name, _ := o.place(string(kv.Key))
		ahead, err := c.Get(ctx, keyspace.Line(o.namespace, Lock, name), clientv3.WithPrefix(), clientv3.WithKeysOnly(), at,
			clientv3.WithMaxCreateRev(e.Revision-1))
		if err != nil {
			return err
		}
		if len(ahead.Kvs) > 0 {
			e.State, e.waitsFor = Waits, name
			return nil
		}
	}
	return nil
}

// askHowLong finds out until when what was given back is kept. etcd tells the time that a lease has left only by the
// lease; who is gone by now has none left.
func (s *Snapshot) askHowLong(ctx context.Context, c *clientv3.Client) {
	for _, l := range s.Lines {
		for i := range l.Entries {
			e := &l.Entries[i]
			if e.State != Released {
				continue
			}
			resp, err := c.TimeToLive(ctx, e.lease)
			if err == nil && resp.TTL >= 0 {
				until := time.Now().Add(time.Duration(resp.TTL) * time.Second).UTC().Truncate(time.Second)
				e.KeptUntil = &until
			}
		}
	}
}

// LeaseLeft asks etcd how long the lease of e lives if nobody renews it; negative: it does not live, or e has none.
func LeaseLeft(ctx context.Context, c *clientv3.Client, e *Entry) (time.Duration, error) {
	if e.lease == clientv3.NoLease {
		return -1, nil
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	resp, err := c.TimeToLive(ctx, e.lease)
	if err != nil {
		return 0, etcd.Explain(c, err, e.Key)
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

// sortSessions is by lease, so that two snapshots compare.
func sortSessions(all []*Session) {
	slices.SortFunc(all, func(a, b *Session) int { return strings.Compare(a.Lease, b.Lease) })
}
