package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Header is the HTTP header that carries a token between services, in the decimal form of Token.String.
const Header = "Fencing-Token"

// SetHeader puts t into r, in place of a token that is there already. Zero or a negative number, which Lock.Token may
// answer once it is released, is sent as well: Handler refuses it with a reason.
func SetHeader(r *http.Request, t Token) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(Header, t.String())
}

// Handler runs next inside g.Do, with the name of the request and the token of its Header. Every request counts as a
// write, also a GET: a route that only reads needs no fence, or Gate.Read in its own handler.
//
// What is refused never reaches next, and is answered with a problem of RFC 9457 (application/problem+json):
//
//   - 409, type https://pkg.go.dev/github.com/fenceline/fenceline/fence#ErrStale: a newer holder has been here. Beside
//     type, title, status and detail the problem has the members name, token and highest, those of StaleError.
//   - 400: the header is missing, is there more than once, or is not a positive decimal number; or name answered "".
//   - 500: g cannot be used, being nil or made with an invalid option.
//   - 503: the request's context ended while it waited for its turn. Its client has gone, as a rule, and sees nothing.
//
// Requests of one name run one after the other, in no promised order, and a request that waits does so until its turn,
// also when its client has gone: then next does not run for it, though its token counts as seen. The turn lasts until
// next returns. A client that reads its answer slowly, or sends its body slowly, keeps the others of its name waiting;
// the server's ReadTimeout and WriteTimeout bound that. What next leaves running when it returns is not fenced.
//
// Responses are not buffered: next writes to the client directly, and what it has written stays written if it fails
// later. A panic in next goes through to the server, and the name's next request has its turn.
//
// A token is a number that anybody can make up. One request with the largest there is closes its name for every holder that
// comes after, until the process restarts, and, with WithMaxNames, in the end all names that are not remembered. So only callers that
// are authenticated may reach a Handler; or let it be a Key's, which takes signed tokens only.
func Handler(g *Gate, name func(*http.Request) string, next http.Handler) http.Handler {
	return handler(g, name, func(_, text string) (Token, error) { return Parse(text) }, next)
}

// handler is Handler with tokens that parse reads, for a name.
func handler(g *Gate, name func(*http.Request) string, parse func(name, text string) (Token, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := name(r)
		token, err := fromHeader(r, n, parse)
		switch {
		case errors.Is(err, ErrForged):
			refuse(w, problem{Status: http.StatusForbidden, Detail: err.Error()})
			return
		case err != nil:
			refuse(w, problem{Status: http.StatusBadRequest, Detail: err.Error()})
			return
		case n == "":
			refuse(w, problem{Status: http.StatusBadRequest, Detail: "the request does not say what it is about: its name for the fence is empty"})
			return
		}
		err = g.Do(n, token, func() error {
			if r.Context().Err() != nil {
				// next would work for nobody, and silence would be a 200.
				refuse(w, problem{Status: http.StatusServiceUnavailable, Detail: "the request ended while it waited for its turn"})
				return nil
			}
			next.ServeHTTP(w, r)
			return nil
		})
		var stale *StaleError
		switch {
		case errors.As(err, &stale):
			refuse(w, problem{
				Type: "https://pkg.go.dev/github.com/fenceline/fenceline/fence#ErrStale", Title: "Stale fencing token",
				Status: http.StatusConflict, Detail: stale.Error(),
				Name: stale.Name, Token: stale.Token, Highest: stale.Highest,
			})
		case err != nil: // the gate's own: the function above has none
			refuse(w, problem{Status: http.StatusInternalServerError, Detail: err.Error()})
		}
	})
}

// fromHeader does not take the first of several: a proxy that adds one must not choose for the client.
func fromHeader(r *http.Request, name string, parse func(name, text string) (Token, error)) (Token, error) {
	const rule = "want exactly one, a positive decimal number"
	values := r.Header.Values(Header)
	if len(values) != 1 {
		return 0, fmt.Errorf("header %s: there are %d: %s", Header, len(values), rule)
	}
	token, err := parse(name, values[0])
	switch {
	case errors.Is(err, ErrForged):
		return 0, err
	case err != nil:
		return 0, fmt.Errorf("header %s: %.64q: %s", Header, values[0], rule)
	}
	return token, nil
}

// problem is the JSON of RFC 9457. Without a type it is about:blank, whose title is that of the status.
type problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Name    string `json:"name,omitempty"`
	Token   Token  `json:"token,omitempty"`
	Highest Token  `json:"highest,omitempty"`
}

func refuse(w http.ResponseWriter, p problem) {
	if p.Type == "" {
		p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	}
	body, _ := json.Marshal(p) // strings and numbers: it cannot fail
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}
