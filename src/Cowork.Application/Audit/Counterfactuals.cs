using System.Collections.Immutable;
using System.Text;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>What a client wants otherwise.</summary>
/// <param name="FromEvent">The first event that may be another one: its id in the feed of the run's session.</param>
/// <param name="Model">Name of a configured model, which is asked also where the record has an answer; null: the run's, which is asked where it has none.</param>
/// <param name="SkillVersions">Of active skills, the versions that are active in place of the recorded ones; null: those.</param>
/// <param name="Policy">Null: the host's.</param>
/// <param name="Message">Said to the run where it goes off; null: nothing.</param>
/// <param name="Allow">Names of the tools whose calls are made; null: none.</param>
/// <param name="Stubs">Results in place of calls, by the tool's name or the digest of the arguments; null: none are given.</param>
/// <param name="BudgetMicroUsd">What its calls of models may cost; null: no more than the tenant's budget holds.</param>
/// <param name="RejectsUnrecorded">As in <see cref="Counterfactual"/>.</param>
public sealed record CounterfactualRequest(
    long FromEvent, string? Model = null, IReadOnlyDictionary<SkillKey, int>? SkillVersions = null, Policy? Policy = null, string? Message = null,
    IReadOnlyList<string>? Allow = null, IReadOnlyDictionary<string, string>? Stubs = null, long? BudgetMicroUsd = null, bool RejectsUnrecorded = false);

/// <summary>Starts a run that goes off from another one, in a session of its own.</summary>
/// <param name="Original">The beginning of that run.</param>
/// <param name="SkillVersions">As in <see cref="CounterfactualRequest"/>.</param>
/// <param name="Message">Said to it before it begins; null: nothing.</param>
public sealed record StartCounterfactual(
    RunKey RunId, SessionKey Session, RunEvent.RunCreated Original, Counterfactual Counterfactual, string Model, IReadOnlyDictionary<SkillKey, int>? SkillVersions,
    Content? Message, Content? Title, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.State(Domain.Session.Aggregate, Session) is not Session.Open session)
        {
            return Refusal.NotFound("session");
        }
        if (Header is not null && await Header.Claim(work, RunId) is { } header)
        {
            return header;
        }
        var (skills, unfit) = await Skills(work);
        if (unfit is not null)
        {
            return unfit;
        }
        var create = new RunCommand.Create(
            RunId, Session, Original.Message, Model, null, work.Now, null, work.By.Issuers, Original.Goal, skills, Original.ContextFiles, Original.Folders, Fork: session.Fork,
            Counterfactual: Counterfactual, Subject: session.Subject);
        return await work.Do(Run.Aggregate, RunId, create, Session, RunId, isNew: true)
            ?? (Message is null ? null : await work.Do(
                Run.Aggregate, RunId, new RunCommand.GiveFeedback(Message, work.By.Actor, work.Now, work.By.Issuers), Session, RunId))
            ?? await Enqueue(work);
    }

    async ValueTask<Refusal?> Enqueue(UnitOfWork work)
    {
        work.Start(new Job(Run.Aggregate.Name, RunId.Value));
        return await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Enqueue(RunId, 0, work.Now, Title), Session, RunId);
    }

    /// <summary>The skills that are active: those of the recorded run, in the versions that are asked for.</summary>
    async ValueTask<(ImmutableList<ActiveSkill>? Skills, Refusal? Refused)> Skills(UnitOfWork work)
    {
        var skills = Original.Skills;
        foreach (var (key, version) in SkillVersions ?? ImmutableDictionary<SkillKey, int>.Empty)
        {
            var place = $"$.skill_versions.{key.Id}";
            if (skills?.FindIndex(skill => skill.Id == key) is not (>= 0 and var at))
            {
                return (null, Refusal.Invalid("invalid_request", place, "The skill was not active in the run."));
            }
            if (await work.PinnedState(Skill.Aggregate, key) is not Skill.Live live || live.Versions.Find(one => one.Version == version) is not { } found)
            {
                return (null, Refusal.Invalid("invalid_request", place, $"The skill has no version {version}."));
            }
            skills = skills!.SetItem(at, ActiveSkills.Of(key, found));
        }
        return (skills, null);
    }
}

/// <summary>Starts counterfactuals: runs that go off from a recorded one, and of which nothing outside is changed unless it is allowed.</summary>
public sealed class Counterfactuals(ForkPoints points, Turns turns, TenantUsage usage, IReadOnlyDictionary<string, IChatClient> models, TimeProvider clock)
{
    /// <summary>Starts one, or answers that of an earlier request under the same key.</summary>
    /// <param name="metadata">Of the session, a JSON object as text.</param>
    public async Task<(Turn? Turn, Refusal? Refused)> Start(
        string org, Origin by, SessionKey session, RunKey run, CounterfactualRequest request, string metadata, RequestKey? header, CancellationToken ct)
    {
        var refused = ModelCatalog.Unknown(models, request.Model) ?? await usage.RunRefusal(org, ct) ?? await usage.SessionRefusal(org, ct);
        GoingOff? at = null;
        if (refused is null)
        {
            (at, refused) = await points.OfCounterfactual(org, session, run, request.FromEvent, ct);
        }
        if (at is null)
        {
            // A repeat is answered like its first request, whatever has become of what it named.
            return header is not null && await turns.Earlier(org, session, "", null, header, ct) is { } earlier ? (earlier, null) : (null, refused);
        }
        var now = clock.GetUtcNow();
        var (own, texts) = (SessionKey.New(now), new List<NamedText>());
        var changed = new (string What, bool Is)[]
        {
            ("message", request.Message is not null), (Counterfactual.ModelChanged, request.Model is not null), ("policy", request.Policy is not null),
            ("skills", request.SkillVersions is { Count: > 0 }),
        };
        var counterfactual = at.Counterfactual with
        {
            Changed = [.. changed.Where(one => one.Is).Select(one => one.What)],
            Policy = request.Policy is { } policy ? Named(Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(PolicyFile.Write(policy).ToJsonString())))) : null,
            Allow = request.Allow is { Count: > 0 } allow ? [.. allow.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)] : null,
            Stubs = request.Stubs is { Count: > 0 } stubs
                ? [.. stubs.OrderBy(stub => stub.Key, StringComparer.Ordinal).Select(stub => new StubbedResult(stub.Key, Named(stub.Value)))]
                : null,
            RejectsUnrecorded = request.RejectsUnrecorded ? true : null,
            BudgetMicroUsd = request.BudgetMicroUsd,
        };
        var title = at.Begun.Message is Content.Inline said && Session.TitleOf(said.Text) is { } words ? Content.Of(words) : null;
        var key = RunKey.New(now);
        var start = new StartCounterfactual(
            key, own, at.Begun, counterfactual, request.Model ?? at.Begun.Model, request.SkillVersions, request.Message is { } message ? Named(message) : null, title, header);
        var taken = await turns.Take(org, by, key, texts, new ForkSession(own, at.Fork, metadata, start, null), ct);
        if (taken.Turn is { Replayed: false })
        {
            usage.Made(org, sessions: 1);
        }
        return taken;

        Content Named(string text)
        {
            texts.Add(NamedText.Of(text));
            return texts[^1].Content;
        }
    }
}
