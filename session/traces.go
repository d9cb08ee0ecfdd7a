package session

import (
	"context"
	"reflect"

	"github.com/fenceline/fenceline/internal/keeper"
)

// hooksOf calls the hooks of all traces, first come first.
func hooksOf(traces []*Trace) (all keeper.Hooks) {
	for i, t := range traces {
		next := t.hooks()
		if i == 0 {
			all = next
			continue
		}
		all = bothHooks(all, next)
	}
	return all
}

// bothHooks chains each pair of fields. Of those that return a ctx, the second one gets the first one's.
func bothHooks(first, second keeper.Hooks) keeper.Hooks {
	a, b := reflect.ValueOf(&first).Elem(), reflect.ValueOf(second)
	for i := range a.NumField() {
		f, g := a.Field(i), b.Field(i)
		switch {
		case g.IsNil():
		case f.IsNil():
			f.Set(g)
		default:
			f.Set(reflect.MakeFunc(f.Type(), chained(reflect.ValueOf(f.Interface()), g)))
		}
	}
	return first
}

var ctxType = reflect.TypeFor[context.Context]()

func chained(f, g reflect.Value) func([]reflect.Value) []reflect.Value {
	return func(args []reflect.Value) []reflect.Value {
		out := f.Call(args)
		if len(out) == 1 && f.Type().Out(0) == ctxType && !out[0].IsNil() {
			args[0] = out[0]
		}
		if next := g.Call(args); len(next) == 1 && !next[0].IsNil() {
			return next
		}
		return out
	}
}
