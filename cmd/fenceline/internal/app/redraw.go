package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Canvas is what will be shown at once.
type Canvas struct {
	bytes.Buffer
	Screen *os.File // the terminal; nil: there is none
	width  int      // in columns; 0: not known
}

// Redrawn shows what look has written, every so often, until a signal: on a terminal in place of the one before. Who writes nothing changes
// nothing. A first look that fails is the end; a later one is told of once, and tried again.
func (g *Globals) Redrawn(ctx context.Context, stdout, stderr io.Writer, every time.Duration, look func(context.Context, *clientv3.Client, *Canvas) error) error {
	ctx, stop := UntilSignal(ctx)
	defer stop()
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.Ping(ctx, client); err != nil {
		return err
	}
	say, away := Talk(stderr, "fenceline: "), false
	for started := false; ; started = true {
		to := CanvasOf(stdout)
		asked, cancel := context.WithTimeout(ctx, g.Connection.CommandTimeout)
		err := look(asked, client, to)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !started:
			return Answered(err)
		case err != nil && !away:
			say("waiting for etcd: %v", err)
		case err == nil:
			if err := to.Show(stdout); err != nil {
				return err
			}
		}
		away = err != nil
		if !etcd.Sleep(ctx, every) {
			return nil
		}
	}
}

func CanvasOf(w io.Writer) *Canvas {
	if f, ok := w.(*os.File); ok && IsTerminal(w) {
		return &Canvas{Screen: f, width: WidthOf(f)}
	}
	return &Canvas{}
}

// Show draws line by line over what is there, so that nothing flickers. What the screen has no room for is cut off.
func (c *Canvas) Show(w io.Writer) error {
	if c.Len() == 0 {
		return nil
	}
	text := c.String()
	if c.Screen != nil {
		_, height := sizeOf(c.Screen)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if height > 1 && len(lines) > height-1 {
			lines = lines[:height-1]
		}
		for i := range lines {
			if c.width > 0 {
				lines[i] = runewidth.Truncate(lines[i], c.width, "…")
			}
		}
		text = "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J"
	}
	_, err := io.WriteString(w, text)
	return err
}
