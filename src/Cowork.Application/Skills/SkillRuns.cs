using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <param name="Skill">Key of the skill.</param>
/// <param name="Version">Null: the latest.</param>
/// <param name="Params">A JSON object, or null: none.</param>
public sealed record SkillPrompt(string Skill, int? Version, JsonElement? Params);

/// <summary>A skill's version with its parameters put in.</summary>
/// <param name="Source">The version, as the run is to remember it.</param>
public sealed record RenderedSkill(string Prompt, RunSource Source);

/// <summary>Runs skills: a template becomes a message, and the message a turn like any other.</summary>
public sealed class SkillRuns(CommandHandler known, Turns turns, IBlobs blobs)
{
    /// <summary>What the skill comes to with these parameters, or why it comes to nothing.</summary>
    public async ValueTask<(RenderedSkill? Rendered, Refusal? Refused)> Render(string org, SkillPrompt asked, CancellationToken ct)
    {
        // "The latest" is what is in the log now, whichever host wrote it.
        var (version, refused) = Skill.ToRun(await known.Fresh(org, Skill.Aggregate, asked.Skill, ct), asked.Version);
        if (version is null)
        {
            return (null, refused);
        }
        var (template, fault) = SkillTemplate.Parse(await blobs.Text(version.Definition.PromptTemplate!, ct));
        var (values, wrong) = Values(template ?? throw new InvalidDataException(fault), asked.Params);
        var (prompt, no) = wrong is null ? template.Render(values) : (null, wrong);
        return prompt is null ? (null, no) : (new(prompt, new($"skill_{asked.Skill}", version.Version)), null);
    }

    /// <summary>Starts a run with the rendered template as its message, or answers the one that the same request started before.</summary>
    /// <param name="session">Key of the session.</param>
    /// <param name="key">The body's key, within the session.</param>
    public async Task<(Turn? Turn, Refusal? Refused)> Submit(
        string org, Origin by, string session, SkillPrompt asked, string? key, RequestKey? header, CancellationToken ct)
    {
        // What was asked, not what it comes to: a repeat is the same request although "the latest" has become another version.
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{asked.Skill}\n{asked.Version}\n{InOrder(asked.Params)}")));
        var (rendered, refused) = await Render(org, asked, ct);
        if (rendered is null)
        {
            return await turns.Earlier(org, session, digest, key, header, ct) is { } earlier ? (earlier, null) : (null, refused);
        }
        return await turns.Submit(org, by, new(session, rendered.Prompt, null, key, header, rendered.Source, digest), ct);
    }

    /// <summary>Parameters by name, so that the same ones are the same text in whatever order they came.</summary>
    static string InOrder(JsonElement? given) => given is { ValueKind: JsonValueKind.Object } some
        ? string.Join('\n', some.EnumerateObject().GroupBy(p => p.Name).OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => $"{p.Key}={p.Last().Value.GetRawText()}"))
        : "";

    /// <summary>The parameters that the template has, as text: strings as they are, numbers and booleans as JSON writes them; null is as good as missing.</summary>
    public static (IReadOnlyDictionary<string, string> Values, Refusal? Refused) Values(SkillTemplate template, JsonElement? given)
    {
        var values = new Dictionary<string, string>();
        if (given is not { ValueKind: JsonValueKind.Object } some)
        {
            return (values, null);
        }
        foreach (var name in template.RequiredParams)
        {
            if (!some.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
            {
                continue;
            }
            if (value.ValueKind is JsonValueKind.Object or JsonValueKind.Array)
            {
                return (values, Refusal.Invalid("invalid_request", $"$.params.{name}", "A parameter is a string, a number or a boolean."));
            }
            values[name] = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();
        }
        return (values, null);
    }
}
