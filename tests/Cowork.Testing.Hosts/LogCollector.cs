using System.Collections.Concurrent;

using Microsoft.Extensions.Logging;

namespace Cowork.Testing.Hosts;

/// <summary>Keeps the log lines of a host in this process, from information on. Register it as the <see cref="ILoggerFactory"/> of its builder.</summary>
public sealed class LogCollector : ILoggerFactory, ILogger
{
    readonly ConcurrentQueue<string> lines = new();

    public string Text => string.Join('\n', lines);

    public bool Has(string text) => lines.Any(line => line.Contains(text, StringComparison.Ordinal));

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("There is one, and it is this.");

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            lines.Enqueue(formatter(state, exception));
        }
    }

    public void Dispose()
    {
        // Whoever reads the lines may do so when the host has gone.
    }
}
