package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether this system has what a witness needs.
const Supported = true

// Teller tells a witness the leases of a session, for as long as it runs.
type Teller struct {
	path, namespace, secret string
	log                     *slog.Logger
	page                    *Page

	mu     sync.Mutex
	leases map[string]time.Duration // with their TTLs
	groups map[int]bool             // of children
	change chan struct{}            // has one when these have changed
}

// NewTeller makes one. An error: there is no page to be had.
func NewTeller(path, namespace, secret string, log *slog.Logger) (*Teller, error) {
	page, err := newPage()
	if err != nil {
		return nil, fmt.Errorf("witness: no memory to share: %w", err)
	}
	return &Teller{path: path, namespace: namespace, secret: secret, log: log, page: page, leases: map[string]time.Duration{}, groups: map[int]bool{}, change: make(chan struct{}, 1)}, nil
}

// Page is what it shares with the witness.
func (t *Teller) Page() *Page { return t.page }

// Add has a lease told, whose record stands.
func (t *Teller) Add(lease string, ttl time.Duration) { t.set(func() { t.leases[lease] = ttl }) }

// Remove has it forgotten.
func (t *Teller) Remove(lease string) { t.set(func() { delete(t.leases, lease) }) }

// Group says in the page that a child runs in a process group, or has ended, and tells the witness, which ends that group when this process is dead.
func (t *Teller) Group(group int, ended bool) error {
	t.set(func() {
		if t.groups[group] = true; ended {
			delete(t.groups, group)
		}
	})
	return t.page.Group(group, ended)
}

func (t *Teller) set(f func()) {
	t.mu.Lock()
	f()
	t.mu.Unlock()
	select {
	case t.change <- struct{}{}:
	default:
	}
}

func (t *Teller) wanted() (leases map[string]time.Duration, groups map[int]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.leases), maps.Clone(t.groups)
}

const (
	soonest = 500 * time.Millisecond
	latest  = 30 * time.Second
)

// Run tells until ctx ends. What goes wrong is a warning, and changes nothing else.
func (t *Teller) Run(ctx context.Context) {
	defer t.page.file.Close()
	pause, said := soonest, ""
	for ctx.Err() == nil {
		began := time.Now()
		err := t.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			t.log.Warn("the witness is not told: if this process dies, what it holds is free after the TTL only", "witness", t.path, "error", err)
		}
		if time.Since(began) > latest {
			pause, said = soonest, ""
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, latest)
	}
}

// connect tells over one connection, until that ends.
func (t *Teller) connect(ctx context.Context) error {
	raw, err := (&net.Dialer{Timeout: handshakeWithin}).DialContext(ctx, "unixpacket", t.path)
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := raw.(*net.UnixConn)
	if err := t.greet(conn); err != nil {
		return err
	}
	answers, failed := make(chan reply), make(chan error, 1)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			r, err := receiveReply(conn)
			if err != nil {
				failed <- err
				return
			}
			select {
			case answers <- r:
			case <-ended:
				return
			}
		}
	}()
	told, groups, again := map[string]bool{}, map[int]bool{}, time.NewTimer(0)
	defer again.Stop()
	var trouble error
	for {
		select {
		case <-t.change:
		case <-again.C:
		case err := <-failed:
			return errors.Join(err, trouble)
		case r := <-answers:
			if r.Error == "" && told[r.Lease] {
				t.log.Debug("the witness is told", "witness", t.path, "lease", r.Lease)
			}
			if r.Error != "" {
				trouble = fmt.Errorf("lease %s: %s", r.Lease, r.Error)
				t.log.Warn("the witness does not take a lease", "witness", t.path, "lease", r.Lease, "error", r.Error)
				if r.Retry {
					delete(told, r.Lease)
					again.Reset(soonest)
				}
			}
			continue
		}
		if err := t.tellAll(conn, told, groups); err != nil {
			return err
		}
	}
}

func (t *Teller) tellAll(conn *net.UnixConn, told map[string]bool, groups map[int]bool) error {
	wanted, running := t.wanted()
	for group := range running {
		if !groups[group] {
			if err := send(conn, message{Do: "group", Group: group}, nil); err != nil {
				return err
			}
			groups[group] = true
		}
	}
	for group := range groups {
		if !running[group] {
			if err := send(conn, message{Do: "ungroup", Group: group}, nil); err != nil {
				return err
			}
			delete(groups, group)
		}
	}
	for lease, ttl := range wanted {
		if !told[lease] {
			if err := send(conn, message{Do: "tell", Namespace: t.namespace, Lease: lease, Secret: t.secret, TTL: ttl.Seconds()}, nil); err != nil {
				return err
			}
			told[lease] = true
		}
	}
	for lease := range told {
		if _, still := wanted[lease]; !still {
			if err := send(conn, message{Do: "forget", Lease: lease}, nil); err != nil {
				return err
			}
			delete(told, lease)
		}
	}
	return nil
}

// greet says hello, with the page, and answers the challenge: so the witness knows that the process of which it has a pidfd is this one.
func (t *Teller) greet(conn *net.UnixConn) error {
	if err := conn.SetDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return err
	}
	if err := send(conn, message{Do: "hello", PID: os.Getpid()}, unix.UnixRights(int(t.page.file.Fd()))); err != nil {
		return err
	}
	r, err := receiveReply(conn)
	switch {
	case err != nil:
		return err
	case r.Error != "":
		return errors.New(r.Error)
	}
	if err := send(conn, message{Do: "here", Nonce: r.Challenge}, nil); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

func send(conn *net.UnixConn, v any, oob []byte) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, _, err = conn.WriteMsgUnix(text, oob, nil)
	return err
}

func receiveReply(conn *net.UnixConn) (r reply, err error) {
	var text [mostBytes]byte
	n, err := conn.Read(text[:])
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, net.ErrClosed
	}
	return r, json.Unmarshal(text[:n], &r)
}
