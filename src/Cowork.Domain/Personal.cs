using System.Collections;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Reflection;

namespace Cowork.Domain;

/// <summary>
/// The member of an event, or of a part of one, holds words of a person or about one: it is sealed in the streams of a data subject. A <see cref="Content"/> is personal
/// without it.
/// </summary>
/// <param name="erased">What stands in its place when the subject's key is gone.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class PersonalAttribute(string erased = PersonalAttribute.Text) : Attribute
{
    /// <summary>In the place of a text.</summary>
    public const string Text = "[erased]";

    /// <summary>In the place of a JSON object.</summary>
    public const string Object = "{}";

    /// <summary>In the place of a JSON list.</summary>
    public const string List = "[]";

    /// <summary>In the place of a SHA-256.</summary>
    public const string Digest = "0000000000000000000000000000000000000000000000000000000000000000";

    public string Erased => erased;
}

/// <summary>The personal members of a type as its JSON has them.</summary>
/// <param name="Erased">Of a text: what stands in its place without a key. Null: it is an object with members, or a list of such.</param>
public sealed record PersonalShape(string? Erased, ImmutableDictionary<string, PersonalShape> Members)
{
    static readonly ConcurrentDictionary<Type, PersonalShape?> Known = new();

    /// <summary>The shape of an event type or of a part of one; null: it has nothing personal.</summary>
    public static PersonalShape? Of(Type type) => Known.GetOrAdd(type, static of => Find(of, []));

    static PersonalShape? Find(Type type, ImmutableHashSet<Type> within)
    {
        if (type.Namespace != typeof(Content).Namespace || type.IsEnum || within.Contains(type))
        {
            return null;
        }
        var members = ImmutableDictionary.CreateBuilder<string, PersonalShape>(StringComparer.Ordinal);
        foreach (var property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            var marked = property.GetCustomAttribute<PersonalAttribute>();
            var held = ElementOf(property.PropertyType);
            var shape = marked is not null || typeof(Content).IsAssignableFrom(held)
                ? new(marked?.Erased ?? PersonalAttribute.Text, ImmutableDictionary<string, PersonalShape>.Empty)
                : Find(held, within.Add(type));
            if (shape is not null)
            {
                members.Add(System.Text.Json.JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name), shape);
            }
        }
        return members.Count == 0 ? null : new(null, members.ToImmutable());
    }

    static Type ElementOf(Type type) =>
        type != typeof(string) && typeof(IEnumerable).IsAssignableFrom(type) && type.IsGenericType ? type.GetGenericArguments()[^1] : Nullable.GetUnderlyingType(type) ?? type;
}

/// <summary>The state of a stream whose texts may be a data subject's.</summary>
public interface IOfSubject
{
    /// <summary>Null: nobody's.</summary>
    string? Subject { get; }
}
