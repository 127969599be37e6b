using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A request to render a skill.</summary>
/// <param name="Version">Null: the latest version.</param>
/// <param name="Params">A JSON object; null: no parameters.</param>
public sealed record SkillPrompt(SkillKey Skill, int? Version, JsonElement? Params);

/// <summary>A skill's template with its parameters filled in.</summary>
/// <param name="Source">The skill and version that the run records.</param>
/// <param name="Name">Name of the skill.</param>
public sealed record RenderedSkill(string Prompt, RunSource Source, string Name);

/// <summary>Runs skills: renders the template into a message and submits it as a turn.</summary>
public sealed class SkillRuns(CommandHandler commands, Turns turns, IBlobs blobs)
{
    /// <summary>Renders a skill, or answers why it cannot be rendered.</summary>
    public async ValueTask<(RenderedSkill? Rendered, Refusal? Refused)> Render(string org, SkillPrompt skill, CancellationToken ct)
    {
        // The latest version is the one in the log, because another host may have written it.
        var (version, refused) = Skill.ToRun(await commands.LatestState(org, Skill.Aggregate, skill.Skill, ct), skill.Version);
        if (version is null)
        {
            return (null, refused);
        }
        var (template, fault) = SkillTemplate.Parse(await blobs.Text(version.Definition.PromptTemplate!, ct));
        var (values, invalid) = ReadParams(template ?? throw new InvalidDataException(fault), skill.Params);
        var (prompt, cannotRender) = invalid is null ? template.Render(values) : (null, invalid);
        return prompt is null ? (null, cannotRender) : (new(prompt, new(skill.Skill, version.Version), version.Definition.Name), null);
    }

    /// <summary>Submits the rendered template as a turn, or answers the turn that the same request submitted before.</summary>
    /// <param name="model">Null: the session's, or else the project's, or else the host's default.</param>
    /// <param name="key">The idempotency key of the body, unique in the session.</param>
    public async Task<(Turn? Turn, Refusal? Refused)> Submit(
        string org, Origin by, SessionKey session, SkillPrompt skill, string? model, string? key, RequestKey? header, CancellationToken ct)
    {
        // The digest covers the request, not the rendered prompt: a repeat is the same request even if the latest version has changed.
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
            $"{skill.Skill.Value}\n{skill.Version}\n{SortedParams(skill.Params)}{(model is null ? "" : $"\0{model}")}")));
        var (rendered, refused) = await Render(org, skill, ct);
        if (rendered is null)
        {
            return await turns.Earlier(org, session, digest, key, header, ct) is { } earlier ? (earlier, null) : (null, refused);
        }
        return await turns.Submit(org, by, new(session, rendered.Prompt, model, key, header, rendered.Source, digest), ct);
    }

    /// <summary>The parameters as text, sorted by name, so that their order does not matter.</summary>
    static string SortedParams(JsonElement? given) => given is { ValueKind: JsonValueKind.Object } parameters
        ? string.Join('\n', parameters.EnumerateObject().GroupBy(p => p.Name).OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => $"{p.Key}={p.Last().Value.GetRawText()}"))
        : "";

    /// <summary>The values of the template's parameters as text: numbers and booleans in JSON form. A null counts as missing.</summary>
    public static (IReadOnlyDictionary<string, string> Values, Refusal? Refused) ReadParams(SkillTemplate template, JsonElement? given)
    {
        var values = new Dictionary<string, string>();
        if (given is not { ValueKind: JsonValueKind.Object } parameters)
        {
            return (values, null);
        }
        // Both may be many: an element looks for a member from one end to the other.
        var byName = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach (var member in parameters.EnumerateObject())
        {
            byName[member.Name] = member.Value;
        }
        foreach (var name in template.RequiredParams)
        {
            if (!byName.TryGetValue(name, out var value) || value.ValueKind == JsonValueKind.Null)
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
