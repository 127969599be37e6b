using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>Time and cause of a stream's first event.</summary>
/// <param name="Correlation">See <see cref="Origin"/>.</param>
/// <param name="Causation">See <see cref="Origin"/>.</param>
public sealed record StreamStart(DateTimeOffset At, string? Correlation, string? Causation)
{
    internal static StreamStart Of(RecordedEvent first) => new(first.At, first.Correlation, first.Causation);
}

/// <summary>A stream's state and read-model rows at a version.</summary>
/// <param name="Position">Position of the last event; 0: unknown.</param>
/// <param name="Cached">True: from the cache, or assumed to be new, so that it may be behind the log.</param>
/// <param name="Bytes">Bytes of what was folded into it.</param>
/// <param name="IsExpired">The data of its events expired: nothing but what came of that is folded, and nothing is decided on it any more.</param>
sealed record StreamState(
    long Version, string Hash, object State, StreamRows Rows, StreamStart? Start, long Position = 0, bool Cached = false, long Bytes = 0,
    bool IsExpired = false);

/// <summary>A stream's state as this node knows it.</summary>
/// <param name="Position">Position of the stream's last event; 0: unknown.</param>
public sealed record KnownState<TState>(TState State, long Version, long Position);
