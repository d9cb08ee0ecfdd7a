package sim

import (
	"slices"
	"time"
)

// scenarios are what went wrong once, each by itself and often: a seed draws the rest. The empty name is a plan as the seed says.
var scenarios = map[string]func(p *plan){
	"":                       func(*plan) {},
	"watches fall silent":    func(p *plan) { p.only("silence"); p.handoffs, p.linger = 1, 5*time.Second },
	"watches end":            func(p *plan) { p.only("end watches", "reset", "compact") },
	"members lag":            func(p *plan) { p.only("lag", "change leader"); p.members = 3 },
	"requests are refused":   func(p *plan) { p.only("refuse", "away", "no space") },
	"nobody is logged in":    func(p *plan) { p.only("forget who has logged in", "reset"); p.users = true },
	"etcd goes back in time": func(p *plan) { p.only("restore") },
	"a process sleeps":       func(p *plan) { p.only("cut") },
	"answers grow late":      func(p *plan) { p.only("late answers, then none") },
	"entries are taken":      func(p *plan) { p.only("delete", "overwrite", "revoke", "expire") },
	"requests are lost":      func(p *plan) { p.only(); p.lost = 0.2 },
	"answers are lost":       func(p *plan) { p.only(); p.answerLost = 0.2 },
	"connections break":      func(p *plan) { p.only(); p.broken = 0.2 },
	"requests come too late": func(p *plan) { p.only(); p.tooLate = 0.2 },
	"requests take long":     func(p *plan) { p.only(); p.slow, p.slowness = 0.2, 10*time.Second },
	"parties are late": func(p *plan) {
		p.only("late answers, then none")
		p.slow, p.slowness, p.answerLost = 0.1, 10*time.Second, 0.1
		p.kinds = slices.DeleteFunc(slices.Clone(allKinds), func(k kind) bool { return k.name != "barrier" })
	},
	"nothing goes wrong": func(p *plan) { p.only(); p.calm = true },
}

// only has nothing else go wrong.
func (p *plan) only(faults ...string) {
	p.calm = false
	p.lost, p.answerLost, p.broken, p.tooLate, p.slow = 0, 0, 0, 0, 0
	p.chaos = nil
	for _, f := range allFaults {
		if slices.Contains(faults, f.name) {
			p.chaos = append(p.chaos, f)
		}
	}
	if len(p.chaos) != len(faults) {
		panic("no such fault")
	}
}
