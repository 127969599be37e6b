using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>When and by what a stream began.</summary>
/// <param name="Correlation">See <see cref="Origin"/>.</param>
/// <param name="Causation">See <see cref="Origin"/>.</param>
public sealed record Began(DateTimeOffset At, string? Correlation, string? Causation)
{
    internal static Began By(RecordedEvent first) => new(first.At, first.Correlation, first.Causation);
}

/// <summary>A stream's state and read-model rows at a version.</summary>
/// <param name="Position">Of the last event in the log, as far as it is known; 0: it is not.</param>
/// <param name="Cached">It was in the cache, or taken for granted, so that it may be behind the log.</param>
sealed record StreamState(long Version, string Hash, object State, StreamRows Rows, Began? Began, long Position = 0, bool Cached = false);

/// <summary>A stream's state as this node knows it.</summary>
/// <param name="Position">Of the stream's last event in the log; 0: it is not known.</param>
public sealed record KnownState<TState>(TState State, long Version, long Position);
