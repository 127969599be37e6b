using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// A policy in a JSON file, <c>{"rules": […], "show_thinking": false}</c> (docs/policy.md). The reader is strict, because a misspelt rule would allow what it should stop.
/// </summary>
public static partial class PolicyFile
{
    static readonly string[] RuleMembers = ["name", "outcome", "reason", "kinds", "tools", "paths", "below", "below_output", "inside_grants", "estimate_over", "unjudgeable"];

    static readonly string[] Kinds =
    [
        "list", "read", "search", "create", "overwrite", "delete", "move", "remember", "recall", "execute",
        CallSubject.ConnectorRead, CallSubject.ConnectorScan, CallSubject.ConnectorBulk, CallSubject.ConnectorWrite, CallSubject.ConnectorAlter,
    ];

    /// <exception cref="ArgumentException">The file is missing or not a valid policy; the message is a sentence that says what is wrong and where.</exception>
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

    /// <exception cref="JsonException">The text is not JSON.</exception>
    /// <exception cref="FormatException">The JSON is not a valid policy.</exception>
    /// <exception cref="InvalidOperationException">A string contains broken characters.</exception>
    public static Policy Parse(ReadOnlySpan<byte> json)
    {
        var bom = "\ufeff"u8;
        var root = JsonElement.Parse(json.StartsWith(bom) ? json[bom.Length..] : json, new JsonDocumentOptions
        {
            AllowDuplicateProperties = false,
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
        });
        Require(root.ValueKind == JsonValueKind.Object, "$", "it must be an object with rules");
        foreach (var member in root.EnumerateObject())
        {
            Require(member.Name is "rules" or "show_thinking", $"$.{member.Name}", "there is no such member; a policy has only rules and show_thinking");
        }
        var showThinking = Flag(root, "$", "show_thinking");
        if (showThinking is { } shows && !root.TryGetProperty("rules", out _))
        {
            return new(Policy.BuiltIn.Rules) { ShowThinking = shows };
        }
        Require(root.TryGetProperty("rules", out var rules) && rules.ValueKind == JsonValueKind.Array, "$.rules", "it must be a list of rules");
        var parsed = rules.EnumerateArray().Select((rule, i) => Rule(rule, $"$.rules[{i}]")).ToList();
        Require(parsed.Count > 0, "$.rules", "a policy without a rule allows nothing");
        var duplicate = parsed.GroupBy(rule => rule.Name).FirstOrDefault(same => same.Count() > 1);
        Require(duplicate is null, "$.rules", $"two rules are named {duplicate?.Key}; an event could not tell which one decided");
        return new(parsed) { ShowThinking = showThinking ?? false };
    }

    /// <summary>A policy in the form that <see cref="Parse"/> reads.</summary>
    public static JsonObject Write(Policy policy) => new()
    {
        ["rules"] = new JsonArray([.. policy.Rules.Select(rule => (JsonNode?)Write(rule))]),
        ["show_thinking"] = policy.ShowThinking,
    };

    static JsonObject Write(PolicyRule rule)
    {
        var json = new JsonObject { ["name"] = rule.Name, ["outcome"] = rule.Outcome.ToString().ToLowerInvariant(), ["reason"] = rule.Reason };
        foreach (var (name, texts) in ((string, ImmutableArray<string>)[])[("kinds", rule.Kinds), ("tools", rule.Tools), ("paths", rule.Paths), ("below", rule.Below)])
        {
            if (!texts.IsEmpty)
            {
                json[name] = new JsonArray([.. texts.Select(text => (JsonNode?)text)]);
            }
        }
        if (rule.BelowOutput)
        {
            json["below_output"] = true;
        }
        if (rule.InsideGrants is { } inside)
        {
            json["inside_grants"] = inside;
        }
        if (rule.EstimateOver is { } seconds)
        {
            json["estimate_over"] = seconds;
        }
        if (rule.InvalidInput)
        {
            json["unjudgeable"] = true;
        }
        return json;
    }

    static PolicyRule Rule(JsonElement rule, string at)
    {
        Require(rule.ValueKind == JsonValueKind.Object, at, "it must be an object");
        foreach (var member in rule.EnumerateObject())
        {
            Require(RuleMembers.Contains(member.Name), $"{at}.{member.Name}", $"there is no such member; a rule has {string.Join(", ", RuleMembers)}");
        }
        var name = Text(rule, at, "name");
        Require(RuleName().IsMatch(name) && name != Policy.NoRule, $"{at}.name", "it must be a snake_case name of at most 64 characters other than no_rule");
        var outcome = Text(rule, at, "outcome") switch
        {
            "allow" => PolicyOutcome.Allow,
            "confirm" => PolicyOutcome.Confirm,
            "deny" => PolicyOutcome.Deny,
            _ => throw Fault($"{at}.outcome", "it must be allow, confirm or deny"),
        };
        var kinds = Texts(rule, at, "kinds");
        var unknown = kinds.FirstOrDefault(kind => !Kinds.Contains(kind));
        Require(unknown is null, $"{at}.kinds", $"there is no kind \"{unknown}\"; there are {string.Join(", ", Kinds)}");
        var (paths, below) = (Texts(rule, at, "paths"), Texts(rule, at, "below"));
        // Such a pattern never matches, so that the rule would stop nothing.
        var notAPart = paths.FirstOrDefault(path => path.TrimEnd('/') is var part && (part.Contains('/') || part is "" or "." or ".."));
        Require(notAPart is null, $"{at}.paths", $"\"{notAPart}\" is not one part of a path; use below for everything below a folder");
        var notAFolder = below.FirstOrDefault(folder => folder.TrimEnd('/').Split('/').Any(part => part is "" or "." or ".." || part.AsSpan().ContainsAny('*', '?')));
        Require(notAFolder is null, $"{at}.below", $"\"{notAFolder}\" is not a folder below the session's folder; write it without ., .. and wildcards, for example drafts/old");
        return new(name, outcome, Text(rule, at, "reason"))
        {
            Kinds = kinds,
            Tools = Texts(rule, at, "tools"),
            Paths = paths,
            Below = below,
            BelowOutput = Flag(rule, at, "below_output") ?? false,
            InsideGrants = Flag(rule, at, "inside_grants"),
            EstimateOver = Seconds(rule, at, "estimate_over"),
            InvalidInput = Flag(rule, at, "unjudgeable") ?? false,
        };
    }

    static string Text(JsonElement rule, string at, string name) =>
        rule.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String && value.GetString() is { } text && !string.IsNullOrWhiteSpace(text)
            && StorableText.IsStorable(text)
            ? text
            : throw Fault($"{at}.{name}", "it must be a text");

    static ImmutableArray<string> Texts(JsonElement rule, string at, string name)
    {
        if (!rule.TryGetProperty(name, out var value))
        {
            return [];
        }
        Require(value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0, $"{at}.{name}", "it must be a list of texts; leave it out to match everything");
        return
        [
            .. value.EnumerateArray().Select(
                item => item.ValueKind == JsonValueKind.String && item.GetString() is { } text && !string.IsNullOrWhiteSpace(text)
                    ? text
                    : throw Fault($"{at}.{name}", "it must be a list of texts")),
        ];
    }

    static bool? Flag(JsonElement rule, string at, string name) =>
        !rule.TryGetProperty(name, out var value) ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Fault($"{at}.{name}", "it must be true or false");

    static int? Seconds(JsonElement rule, string at, string name) =>
        !rule.TryGetProperty(name, out var value) ? null
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var seconds) && seconds >= 0 ? seconds
        : throw Fault($"{at}.{name}", "it must be a whole number of seconds");

    static void Require(bool holds, string at, string message)
    {
        if (!holds)
        {
            throw Fault(at, message);
        }
    }

    static FormatException Fault(string at, string message) => new($"{at}: {message}.");

    [GeneratedRegex("^[a-z][a-z0-9_]{0,63}$")]
    private static partial Regex RuleName();
}
