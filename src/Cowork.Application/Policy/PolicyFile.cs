using System.Collections.Immutable;
using System.Text.Json;
using System.Text.RegularExpressions;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// A policy as a JSON file, <c>{"rules": […]}</c> (docs/policy.md). It is read strictly: a rule that is misspelt would let through what it was written to
/// stop.
/// </summary>
public static partial class PolicyFile
{
    static readonly string[] RuleMembers = ["name", "outcome", "reason", "kinds", "tools", "paths", "below", "inside_grants", "unjudgeable"];

    static readonly string[] Kinds = ["list", "read", "search", "create", "overwrite", "delete", "move", "remember", "recall"];

    /// <summary>The policy that a file holds.</summary>
    /// <exception cref="ArgumentException">There is no such file, or it is no policy; the message says what is wrong and where, in a sentence.</exception>
    public static Policy Read(string path)
    {
        byte[] json;
        try
        {
            json = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"The policy {path} cannot be read: {e.Message}", e);
        }
        try
        {
            return Parse(json);
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            throw new ArgumentException($"The policy {path} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>The policy that a JSON text holds.</summary>
    /// <exception cref="JsonException">It is no JSON.</exception>
    /// <exception cref="FormatException">It is no policy, or <see cref="InvalidOperationException"/>: it holds broken characters.</exception>
    public static Policy Parse(ReadOnlySpan<byte> json)
    {
        var bom = "\ufeff"u8;
        var root = JsonElement.Parse(json.StartsWith(bom) ? json[bom.Length..] : json, new JsonDocumentOptions
        {
            AllowDuplicateProperties = false,
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
        });
        Require(root.ValueKind == JsonValueKind.Object, "$", "an object with rules is wanted");
        foreach (var member in root.EnumerateObject())
        {
            Require(member.Name == "rules", $"$.{member.Name}", "there is no such member; a policy has only rules");
        }
        Require(root.TryGetProperty("rules", out var rules) && rules.ValueKind == JsonValueKind.Array, "$.rules", "a list of rules is wanted");
        var read = rules.EnumerateArray().Select((rule, i) => Rule(rule, $"$.rules[{i}]")).ToList();
        Require(read.Count > 0, "$.rules", "a policy without a rule allows nothing");
        var twice = read.GroupBy(rule => rule.Name).FirstOrDefault(same => same.Count() > 1);
        Require(twice is null, "$.rules", $"two rules are named {twice?.Key}; an event could not tell which one decided");
        return new(read);
    }

    static PolicyRule Rule(JsonElement rule, string at)
    {
        Require(rule.ValueKind == JsonValueKind.Object, at, "an object is wanted");
        foreach (var member in rule.EnumerateObject())
        {
            Require(RuleMembers.Contains(member.Name), $"{at}.{member.Name}", $"there is no such member; a rule has {string.Join(", ", RuleMembers)}");
        }
        var name = Text(rule, at, "name");
        Require(RuleName().IsMatch(name) && name != Policy.NoRule, $"{at}.name", "a name in snake_case is wanted, of at most 64 characters, other than no_rule");
        var outcome = Text(rule, at, "outcome") switch
        {
            "allow" => PolicyOutcome.Allow,
            "confirm" => PolicyOutcome.Confirm,
            "deny" => PolicyOutcome.Deny,
            _ => throw Fault($"{at}.outcome", "allow, confirm or deny is wanted"),
        };
        var kinds = Texts(rule, at, "kinds");
        var unknown = kinds.FirstOrDefault(kind => !Kinds.Contains(kind));
        Require(unknown is null, $"{at}.kinds", $"there is no kind \"{unknown}\"; there are {string.Join(", ", Kinds)}");
        var (paths, below) = (Texts(rule, at, "paths"), Texts(rule, at, "below"));
        // Neither could ever fit, so that the rule would stop nothing.
        var longer = paths.FirstOrDefault(path => path.TrimEnd('/') is var part && (part.Contains('/') || part is "" or "." or ".."));
        Require(longer is null, $"{at}.paths", $"\"{longer}\" is no part of a path; what lies below a folder is fitted by below");
        var pattern = below.FirstOrDefault(folder => folder.TrimEnd('/').Split('/').Any(part => part is "" or "." or ".." || part.AsSpan().ContainsAny('*', '?')));
        Require(pattern is null, $"{at}.below", $"\"{pattern}\" is no folder of the session's folder; it is written without . and .. and wildcards, like drafts/old");
        return new(name, outcome, Text(rule, at, "reason"))
        {
            Kinds = kinds,
            Tools = Texts(rule, at, "tools"),
            Paths = paths,
            Below = below,
            InsideGrants = Flag(rule, at, "inside_grants"),
            Unjudgeable = Flag(rule, at, "unjudgeable") ?? false,
        };
    }

    static string Text(JsonElement rule, string at, string name) =>
        rule.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String && value.GetString() is { } text && !string.IsNullOrWhiteSpace(text)
            && StorableText.IsStorable(text)
            ? text
            : throw Fault($"{at}.{name}", "a text is wanted");

    static ImmutableArray<string> Texts(JsonElement rule, string at, string name)
    {
        if (!rule.TryGetProperty(name, out var value))
        {
            return [];
        }
        Require(value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0, $"{at}.{name}", "a list of texts is wanted; leave it out to fit everything");
        return
        [
            .. value.EnumerateArray().Select(
                item => item.ValueKind == JsonValueKind.String && item.GetString() is { } text && !string.IsNullOrWhiteSpace(text)
                    ? text
                    : throw Fault($"{at}.{name}", "a list of texts is wanted")),
        ];
    }

    static bool? Flag(JsonElement rule, string at, string name) =>
        !rule.TryGetProperty(name, out var value) ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Fault($"{at}.{name}", "true or false is wanted");

    static void Require(bool holds, string at, string what)
    {
        if (!holds)
        {
            throw Fault(at, what);
        }
    }

    static FormatException Fault(string at, string what) => new($"{at}: {what}.");

    [GeneratedRegex("^[a-z][a-z0-9_]{0,63}$")]
    private static partial Regex RuleName();
}
