using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application.Storage;

/// <summary>Looks for erased subjects whenever something was committed that may be an erasure, so that streams that are open show nothing more of them.</summary>
public sealed partial class SubjectWatch(SubjectKeyring keys, ILogger<SubjectWatch> logger) : ICommitObserver
{
    int looking;

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        if (entries.Any(entry => entry.Is<DataSubjectEvent.SubjectErased>()))
        {
            _ = Look();
        }
    }

    public void OthersWrote() => _ = Look();

    /// <summary>One look at a time; who asks meanwhile has another one follow.</summary>
    async Task Look()
    {
        if (Interlocked.Increment(ref looking) > 1)
        {
            return;
        }
        int seen;
        do
        {
            seen = Volatile.Read(ref looking);
            try
            {
                await Task.Yield();
                await keys.RefreshAll(CancellationToken.None);
            }
            catch (Exception e)
            {
                // Each request looks for itself.
                LogFailed(e.Message);
            }
        }
        while (Interlocked.CompareExchange(ref looking, 0, seen) != seen);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Erased subjects were not looked for: {Reason}")]
    partial void LogFailed(string reason);
}
