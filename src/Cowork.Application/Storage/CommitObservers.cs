namespace Cowork.Application.Storage;

/// <summary>Several that hear of commits, in their order: those first that keep what the later ones' listeners will look for.</summary>
public sealed class CommitObservers(Func<IReadOnlyList<ICommitObserver>> all) : ICommitObserver
{
    // They read from the log that they hear of, so that they can be made only after the engine.
    readonly Lazy<IReadOnlyList<ICommitObserver>> observers = new(all);

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var observer in observers.Value)
        {
            observer.Committed(entries);
        }
    }

    public void OthersWrote()
    {
        foreach (var observer in observers.Value)
        {
            observer.OthersWrote();
        }
    }
}
