package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// ErrNotThere: nobody holds with that token any more. Nothing was done.
var ErrNotThere = errors.New("inspect: nobody holds with that token")

// How long etcd keeps who has broken a hold, and a request that nobody hears: the hold may end first, before it is a second old.
const (
	brokenFor = 24 * time.Hour
	askedFor  = time.Hour
)

// WithActor names who breaks a hold, or asks for it. The default is the program's user and host.
func WithActor(who string) ActOption { return actOption(func(o *options) { o.actor = who }) }

// Break ends the hold of kind and name whose token was looked at, and no other: in one transaction that compares its entry. A hold that has moved
// on since, to another process or to another entry of the same, is left alone, and Break returns ErrNotThere; so is one who only waits. The
// turn of a token is not compared: which of a process's goroutines holds, etcd does not know.
//
// The holder's Context ends with a *session.BrokenError, which says who broke it and why, as soon as its process hears of it: in a moment, or, if
// that is cut off or stopped, when it comes back, or at its own deadline. Until then it may go on. The next one does not wait for that, unless
// it has a lock.WithTakeoverDelay: a guard of the broken hold fails, and its token is refused where a newer one was seen, from the moment of the
// break. Of a set of locks all are given back. The record of the break stays for a day.
//
// reason must not be empty. ctx bounds it, or 5 s when ctx has no deadline. After another error than ErrNotThere the hold may have been broken or
// not: call it again. The user needs to write the entry, and <namespace>broken/.
func Break(ctx context.Context, c *clientv3.Client, kind, name string, token fence.Token, reason string, opts ...ActOption) error {
	if err := breakHold(ctx, c, kind, name, token, reason, opts); err != nil {
		return fmt.Errorf("inspect: break %s %q: %w", kind, name, err)
	}
	return nil
}

// Ask asks the hold of kind and name whose token was looked at to be given back. Its process hears of it in a moment (lock.Lock.Asked,
// session.Trace.Asked; "fenceline lock" sends its command SIGTERM), if the hold is a second old, and does about it what it likes: who does not
// answer keeps it. ErrNotThere: nobody holds with that token any more, and nobody was asked. ctx and reason are as with Break. The user needs to
// write <namespace>asked/. The request goes with the hold, or after an hour.
func Ask(ctx context.Context, c *clientv3.Client, kind, name string, token fence.Token, reason string, opts ...ActOption) error {
	o, e, err := find(ctx, c, kind, name, token, reason, opts)
	if err == nil {
		err = o.ask(ctx, c, e, reason)
	}
	if err != nil {
		return fmt.Errorf("inspect: ask for %s %q: %w", kind, name, err)
	}
	return nil
}

func (o *options) ask(ctx context.Context, c *clientv3.Client, e *Entry, reason string) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	if e.lease == clientv3.NoLease || e.foreign {
		return errors.New("its entry is not of fenceline: nobody would hear")
	}
	text, err := json.Marshal(session.Request{By: o.who(), Reason: reason, At: time.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	lease, err := c.Grant(ctx, int64(askedFor/time.Second))
	if err != nil {
		return o.explain(c, err)
	}
	key := keyspace.Asked(o.namespace, e.owner) + strconv.FormatInt(e.Revision, 10)
	resp, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(e.Key), "=", e.Revision)).
		Then(clientv3.OpPut(key, string(text), clientv3.WithLease(lease.ID))).Commit()
	if etcd.Final(err) || err == nil && !resp.Succeeded {
		_, _ = c.Revoke(ctx, lease.ID) // nothing hangs on it, and it would end by itself
	}
	switch {
	case err != nil:
		return o.explain(c, err)
	case !resp.Succeeded:
		return ErrNotThere
	}
	return nil
}

func breakHold(ctx context.Context, c *clientv3.Client, kind, name string, token fence.Token, reason string, opts []ActOption) error {
	o, e, err := find(ctx, c, kind, name, token, reason, opts)
	if err != nil {
		return err
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	keys, err := o.setOf(ctx, c, e)
	if err != nil {
		return o.explain(c, err)
	}
	return o.delete(ctx, c, e, keys, reason)
}

// find is the entry that holds with token.
func find(ctx context.Context, c *clientv3.Client, kind, name string, token fence.Token, reason string, opts []ActOption) (*options, *Entry, error) {
	o, err := optionsOfLine(kind, name, opts, ActOption.act)
	switch {
	case err != nil:
		return nil, nil, err
	case reason == "":
		return nil, nil, errors.New("the reason is empty")
	case token <= 0:
		return nil, nil, fmt.Errorf("token %d: it is not positive", token)
	}
	s, err := o.read(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range s.Lines {
		for i := range l.Entries {
			if l.Entries[i].Revision == token.Revision() && l.Entries[i].State == Holds {
				return &o, &l.Entries[i], nil
			}
		}
	}
	return nil, nil, ErrNotThere
}

// setOf are the keys that came in by one transaction with e, which is among them.
func (o *options) setOf(ctx context.Context, c *clientv3.Client, e *Entry) ([]string, error) {
	if o.kind != Lock {
		return []string{e.Key}, nil
	}
	resp, err := c.Get(ctx, o.namespace+Lock+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithMinCreateRev(e.Revision), clientv3.WithMaxCreateRev(e.Revision))
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

func (o *options) delete(ctx context.Context, c *clientv3.Client, e *Entry, keys []string, reason string) error {
	text, err := json.Marshal(session.BrokenError{By: o.who(), Reason: reason, At: time.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	lease, err := c.Grant(ctx, int64(brokenFor/time.Second))
	if err != nil {
		return o.explain(c, err)
	}
	var stands []clientv3.Cmp
	ops := []clientv3.Op{clientv3.OpPut(keyspace.Broken(o.namespace, e.Revision), string(text), clientv3.WithLease(lease.ID))}
	for _, key := range keys {
		stands = append(stands, clientv3.Compare(clientv3.CreateRevision(key), "=", e.Revision))
		ops = append(ops, clientv3.OpDelete(key))
	}
	resp, err := c.Txn(ctx).If(stands...).Then(ops...).Commit()
	if etcd.Final(err) || err == nil && !resp.Succeeded {
		_, _ = c.Revoke(ctx, lease.ID) // nothing hangs on it, and it would end by itself
	}
	switch {
	case err != nil:
		return o.explain(c, err)
	case !resp.Succeeded:
		return ErrNotThere
	}
	for _, key := range keys { // a note of since when, which ends with its lease else; the role may not allow that
		gone := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		_, _ = c.Txn(ctx).If(gone).Then(clientv3.OpDelete(keyspace.Since(o.namespace, key))).Commit()
	}
	return nil
}

// who breaks, or asks. A part that the system does not tell is left out.
func (o *options) who() string {
	if o.actor != "" {
		return o.actor
	}
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
