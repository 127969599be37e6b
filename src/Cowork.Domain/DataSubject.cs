using System.Collections.Immutable;
using System.Diagnostics;

using static Cowork.Domain.DataSubjectCommand;
using static Cowork.Domain.DataSubjectEvent;

namespace Cowork.Domain;

public abstract record DataSubjectCommand(DateTimeOffset Now)
{
    /// <summary>Notes that the subject has a key, which lies beside the log. No-op when it has one.</summary>
    public sealed record MakeKey(string Subject, string KeyId, string Commitment, DateTimeOffset Now) : DataSubjectCommand(Now);

    /// <summary>Destroys the key. No-op when it is gone.</summary>
    /// <param name="By">The principal.</param>
    public sealed record Erase(string By, DateTimeOffset Now) : DataSubjectCommand(Now);

    /// <summary>Notes that a legal hold keeps a session of the subject: it is not erased meanwhile.</summary>
    public sealed record Hold(SessionKey SessionId, DateTimeOffset Now) : DataSubjectCommand(Now);

    /// <summary>Ends what <see cref="Hold"/> began.</summary>
    public sealed record Release(SessionKey SessionId, DateTimeOffset Now) : DataSubjectCommand(Now);

    /// <summary>Notes that no copy of what the key opened is left in what the log leads to.</summary>
    public sealed record Complete(long Streams, long Blobs, DateTimeOffset Now) : DataSubjectCommand(Now);
}

/// <summary>What happened to a data subject's key.</summary>
public abstract record DataSubjectEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="KeyId">A ULID.</param>
    /// <param name="Commitment">Hex SHA-256 that follows from the key and does not lead back to it.</param>
    public sealed record SubjectKeyMade(string Subject, string KeyId, string Commitment, DateTimeOffset At) : DataSubjectEvent(At);

    /// <summary>A legal hold keeps the session, and with it the key.</summary>
    public sealed record SubjectHeld(string Subject, SessionKey SessionId, DateTimeOffset At) : DataSubjectEvent(At);

    public sealed record SubjectReleased(string Subject, SessionKey SessionId, DateTimeOffset At) : DataSubjectEvent(At);

    /// <summary>The same commit destroyed the key: nobody opens what was sealed under it, from this position on.</summary>
    public sealed record SubjectErased(string Subject, string By, DateTimeOffset At) : DataSubjectEvent(At);

    /// <summary>Copies outside the log are gone too: rows of read models, index entries, snapshots, blobs.</summary>
    /// <param name="Streams">Streams that had texts of the subject.</param>
    /// <param name="Blobs">Files of the blob store that were removed.</param>
    public sealed record SubjectErasureCompleted(string Subject, long Streams, long Blobs, DateTimeOffset At) : DataSubjectEvent(At);
}

/// <summary>A person whose texts are sealed under a key of their own, by a name that the operator chose.</summary>
public abstract record DataSubject
{
    public sealed record None : DataSubject;

    /// <param name="Held">Keys of sessions that legal holds keep; null: there are none.</param>
    public sealed record Active(string Subject, string KeyId, ImmutableSortedSet<string>? Held = null) : DataSubject;

    /// <param name="CompletedAt">Null: copies outside the log are still being removed.</param>
    public sealed record Erased(string Subject, string KeyId, string By, DateTimeOffset ErasedAt, DateTimeOffset? CompletedAt = null, long Streams = 0, long Blobs = 0)
        : DataSubject;

    public static Aggregate<DigestKey, DataSubjectCommand, DataSubjectEvent, DataSubject> Aggregate { get; } = new("subject", new None(), Decide, Evolve);

    /// <summary>Of the stream of a subject.</summary>
    public static DigestKey KeyOf(string subject) => new(Ids.KeyOf($"data subject {subject}"));

    /// <summary>What is remembered of a subject belongs to a project of its own, in which nothing else begins.</summary>
    public static ProjectKey MemoryProjectOf(string subject) => new(Ids.KeyOf($"memories of data subject {subject}"));

    /// <summary>A subject that was erased does not come back: its name says whose texts cannot be read.</summary>
    public static Refusal WhyErased(string subject) => Refusal.Conflict("subject_erased", $"The personal data of {subject} were erased.");

    public static Decision<DataSubjectEvent> Decide(DataSubjectCommand command, DataSubject state) => (command, state) switch
    {
        (MakeKey c, None) => new SubjectKeyMade(c.Subject, c.KeyId, c.Commitment, c.Now),
        (MakeKey, Active) => Decision<DataSubjectEvent>.Nothing,
        (MakeKey, Erased e) => WhyErased(e.Subject),
        (Hold c, Active a) when a.Held?.Contains(c.SessionId.Value) == true => Decision<DataSubjectEvent>.Nothing,
        (Hold c, Active a) => new SubjectHeld(a.Subject, c.SessionId, c.Now),
        (Release c, Active a) when a.Held?.Contains(c.SessionId.Value) == true => new SubjectReleased(a.Subject, c.SessionId, c.Now),
        (Hold or Release, _) => Decision<DataSubjectEvent>.Nothing,
        (Erase, Active { Held: { IsEmpty: false } held } a) => Refusal.Conflict(
            "subject_held", $"A legal hold keeps {held.Count} {(held.Count == 1 ? "session" : "sessions")} of {a.Subject}, among them {new SessionKey(held[0])}."),
        (Erase c, Active a) => new SubjectErased(a.Subject, c.By, c.Now),
        (Erase, Erased) => Decision<DataSubjectEvent>.Nothing,
        (Complete c, Erased { CompletedAt: null } e) => new SubjectErasureCompleted(e.Subject, c.Streams, c.Blobs, c.Now),
        (Complete, Erased) => Decision<DataSubjectEvent>.Nothing,
        _ => Refusal.NotFound("subject"),
    };

    public static DataSubject Evolve(DataSubject state, DataSubjectEvent e) => (e, state) switch
    {
        (SubjectKeyMade m, _) => new Active(m.Subject, m.KeyId),
        (SubjectHeld h, Active a) => a with { Held = (a.Held ?? ImmutableSortedSet.Create<string>(StringComparer.Ordinal)).Add(h.SessionId.Value) },
        (SubjectReleased r, Active a) => a with { Held = a.Held?.Remove(r.SessionId.Value) },
        (SubjectErased x, Active a) => new Erased(x.Subject, a.KeyId, x.By, x.At),
        (SubjectErasureCompleted c, Erased s) => s with { CompletedAt = c.At, Streams = c.Streams, Blobs = c.Blobs },
        _ => throw new UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };
}
