package devserver

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger passes on, as short lines, why etcd gives up. What it calls errors short of that is common in its
// start and stop, and would frighten for nothing.
func newLogger(w io.Writer) *zap.Logger {
	if w == nil {
		return zap.NewNop()
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		NameKey: "name", MessageKey: "message", ConsoleSeparator: ": ",
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapcore.DPanicLevel)
	return zap.New(core).Named("etcd")
}
