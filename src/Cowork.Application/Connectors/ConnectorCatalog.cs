using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The connectors of this host by their specs.</summary>
public sealed class ConnectorCatalog
{
    readonly FrozenDictionary<string, IConnector> byId;

    public ConnectorCatalog(IEnumerable<IConnector> connectors)
    {
        byId = connectors.ToFrozenDictionary(connector => connector.Spec.Id, StringComparer.Ordinal);
        Specs = [.. byId.Values.Select(connector => connector.Spec).OrderBy(spec => spec.Id, StringComparer.Ordinal)];
    }

    /// <summary>Ordered by id.</summary>
    public IReadOnlyList<ConnectorSpec> Specs { get; }

    /// <summary>Null: this host has no such connector.</summary>
    public IConnector? Find(string spec) => byId.GetValueOrDefault(spec);
}

/// <summary>The credentials that a client sends.</summary>
public static class Credentials
{
    /// <summary>Characters of a value, wide enough for a key with its certificates.</summary>
    public const int ValueCharsMax = 16 * 1024;

    /// <summary>The values by the keys of the spec's fields, and what is wrong with them: unknown members, values of a wrong type, and every missing field.</summary>
    /// <param name="given">A JSON object; null: none was sent.</param>
    public static (ImmutableDictionary<string, string> Fields, IReadOnlyList<FieldFault> Faults) Read(ConnectorSpec spec, JsonElement? given)
    {
        var fields = ImmutableDictionary.CreateBuilder<string, string>(StringComparer.Ordinal);
        var faults = new List<FieldFault>();
        foreach (var member in given is { ValueKind: JsonValueKind.Object } sent ? sent.EnumerateObject() : default)
        {
            if (!spec.Fields.Exists(field => field.Key == member.Name))
            {
                faults.Add(new(IsKey(member.Name) ? member.Name : "", $"{spec.Name} has no such field. There are: {string.Join(", ", spec.Fields.Select(field => field.Key))}."));
                continue;
            }
            // A port may be a number.
            var value = member.Value.ValueKind switch
            {
                JsonValueKind.String => member.Value.GetString()!,
                JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => member.Value.GetRawText(),
                JsonValueKind.Null => "",
                _ => null,
            };
            if (value is null || value.Length > ValueCharsMax || !StorableText.IsStorable(value))
            {
                faults.Add(new(member.Name, $"Must be a text or a number of at most {ValueCharsMax} characters."));
            }
            else if (value.Length > 0)
            {
                fields[member.Name] = value;
            }
        }
        faults.AddRange(
            from field in spec.Fields
            where field.IsRequired && !fields.ContainsKey(field.Key) && !faults.Exists(fault => fault.Key == field.Key)
            select new FieldFault(field.Key, $"{field.Label} is required."));
        return (fields.ToImmutable(), faults);
    }

    /// <summary>What is no key of a field may be anything, a secret too, and is not repeated.</summary>
    static bool IsKey(string name) => name.Length is > 0 and <= 64 && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '_');
}
