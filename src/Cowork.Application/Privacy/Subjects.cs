using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Which sessions have a data subject.</summary>
public enum Sealing
{
    /// <summary>None: a request that names a subject is refused.</summary>
    Off,

    /// <summary>Those whose request names one.</summary>
    Marked,

    /// <summary>Every one: its owner, unless the request names another.</summary>
    User,
}

/// <summary>How far it is with a data subject. Whether somebody was erased the log says, and not the table of keys.</summary>
/// <param name="Erased">Null: nobody erased the subject.</param>
public sealed record SubjectStatus(ListedSubject Listed, DataSubject.Erased? Erased)
{
    /// <summary>
    /// <c>active</c>: the key is there. <c>erasing</c>: it was destroyed, and copies of what it opened are being removed. <c>erased</c>. <c>unreadable</c>: it is gone, and nobody
    /// erased the subject.
    /// </summary>
    public string State => Erased is null ? Listed.HasKey ? "active" : "unreadable" : Erased.CompletedAt is null ? "erasing" : "erased";

    /// <summary>Sealed files of the blob store; after the erasure, those that nobody can open any more.</summary>
    public long Blobs => Erased is { CompletedAt: not null } ? Erased.Blobs : Listed.Blobs;

    public static async ValueTask<SubjectStatus> Of(CommandHandler handler, string org, ListedSubject listed, CancellationToken ct) =>
        new(listed, await handler.LatestState(org, DataSubject.Aggregate, DataSubject.KeyOf(listed.Subject), ct) as DataSubject.Erased);
}

/// <summary>Gives data subjects their keys, and erases them.</summary>
public sealed class Subjects(
    CommandHandler handler, ICommandExecutor commands, TenantSecrets secrets, SubjectKeyring keys, OperatorsTenant operators, Sealing sealing, TimeProvider clock)
{
    /// <summary>Characters of a subject's name.</summary>
    public const int NameMax = 200;

    const int StreamsPage = 500;

    static readonly Origin System = new("system");

    /// <summary>The subject of what a request makes, with a key; null without a refusal: nobody.</summary>
    /// <param name="named">In the request; null: nobody.</param>
    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<(string? Subject, Refusal? Refused)> Of(string org, string actor, string? named, CancellationToken ct)
    {
        if (named is not null && sealing == Sealing.Off)
        {
            return (null, Refusal.Invalid("sealing_off", "subject", "This host seals no personal data (Cowork__Privacy__Seal=off)."));
        }
        var subject = named ?? (sealing == Sealing.User ? Origin.UserOf(actor) : null);
        return subject is null ? (null, null) : (subject, await Ensure(org, subject, ct));
    }

    /// <summary>The data subject of a session; null: nobody.</summary>
    public async ValueTask<string?> Of(string org, SessionKey session, CancellationToken ct) =>
        (await handler.State(org, Session.Aggregate, session, ct) as IOfSubject)?.Subject;

    /// <summary>Makes the subject's key when it has none. Refused: the subject was erased.</summary>
    public async ValueTask<Refusal?> Ensure(string org, string subject, CancellationToken ct)
    {
        if (await handler.State(org, DataSubject.Aggregate, DataSubject.KeyOf(subject), ct) is DataSubject.Active)
        {
            return null;
        }
        var master = await secrets.Master(ct);
        await commands.Execute(operators.Org, System, new RegisterKeyTenant(org), ct);
        var id = Ids.NewKey(clock.GetUtcNow());
        var (commitment, wrapped) = SubjectKeyring.New(master, org, id);
        return (await commands.Execute(org, System, new MakeSubjectKey(subject, id, commitment, wrapped), ct)).Refused;
    }

    /// <summary>Cancels the subject's runs and destroys its key. From the commit on nobody reads what was sealed under it.</summary>
    public async ValueTask<Refusal?> Erase(string org, Origin by, string subject, CancellationToken ct)
    {
        if (await handler.LatestState(org, DataSubject.Aggregate, DataSubject.KeyOf(subject), ct) is not DataSubject.Active { Held: null or { IsEmpty: true } })
        {
            return (await commands.Execute(org, by, new EraseSubject(subject, by.Actor), ct)).Refused;
        }
        for (var after = ""; ;)
        {
            var page = await keys.Store.Streams(org, subject, after, StreamsPage, ct);
            foreach (var stream in page.Where(stream => stream.StartsWith("session-", StringComparison.Ordinal)))
            {
                var state = await handler.LatestState(org, Session.Aggregate, new SessionKey(stream["session-".Length..]), ct);
                foreach (var run in state.LiveRuns().Reverse())
                {
                    await commands.Execute(org, by, new CancelRun(run, null), ct);
                }
            }
            if (page.Count < StreamsPage)
            {
                break;
            }
            after = page[^1];
        }
        if ((await commands.Execute(org, by, new EraseSubject(subject, by.Actor), ct)).Refused is { } refused)
        {
            return refused;
        }
        await keys.Refresh(org, ct);
        return null;
    }
}
