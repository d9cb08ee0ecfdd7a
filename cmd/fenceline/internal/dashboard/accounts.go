package dashboard

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// checked refuses who calls the server by a name that is not its own (a page elsewhere whose name leads here), or does not say who he is.
func (s *server) checked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.isOurs(r.Host) {
			http.Error(w, fmt.Sprintf("Host %q: this server is not called so; see --host", r.Host), http.StatusMisdirectedRequest)
			return
		}
		who := ""
		switch {
		case s.header != "":
			if who = r.Header.Get(s.header); who == "" {
				http.Error(w, "the proxy in front has not said who you are, in "+s.header, http.StatusUnauthorized)
				return
			}
		case s.auth != nil:
			user, password, ok := r.BasicAuth()
			if !ok || !s.auth.know(user, password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="fenceline", charset="UTF-8"`)
				http.Error(w, "unknown user, or wrong password", http.StatusUnauthorized)
				return
			}
			who = user
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, who)))
	})
}

type whoKey struct{}

func whoOf(r *http.Request) string {
	who, _ := r.Context().Value(whoKey{}).(string)
	return who
}

// isOurs says whether the server may be called by that host: an address, localhost, or a name that --host gives.
func (s *server) isOurs(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	return slices.Contains(s.hosts, strings.ToLower(name))
}

// accounts are users with bcrypt hashes, as "htpasswd -B" writes them. A password that was right is remembered as a hash that costs less.
type accounts struct {
	hashes map[string][]byte

	mu    sync.Mutex
	right map[[sha256.Size]byte]bool
}

// parseAccounts reads lines of name:hash.
func parseAccounts(text string) (*accounts, error) {
	a := &accounts{hashes: map[string][]byte{}, right: map[[sha256.Size]byte]bool{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d: want name:hash", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: user %q: want a bcrypt hash, as \"htpasswd -nB %s\" makes it", n, name, name)
		}
		a.hashes[name] = []byte(hash)
	}
	if len(a.hashes) == 0 {
		return nil, errors.New("it has no user")
	}
	return a, nil
}

func (a *accounts) know(user, password string) bool {
	sum := sha256.Sum256([]byte(user + "\x00" + password))
	a.mu.Lock()
	right := a.right[sum]
	a.mu.Unlock()
	if right {
		return true
	}
	hash, known := a.hashes[user]
	if !known {
		for _, other := range a.hashes { // as long as for one who is known
			hash = other
			break
		}
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || !known {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.right[sum] = true
	return true
}
