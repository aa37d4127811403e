//! XML in which white space counts: a blob's name may begin or end in it.

use crate::system::place::Failed;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// Elements within elements; more is no answer of a store's.
const DEEPEST: usize = 16;

/// An element: its attributes, its own text, and what stands in it.
#[derive(Default)]
pub(super) struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    pub(super) text: String,
    children: Vec<Element>,
}

impl Element {
    /// The one element that everything stands in, if it has this name.
    ///
    /// # Errors
    /// It is no XML, or another answer.
    pub(super) fn read(text: &str, root: &str) -> Result<Self, Failed> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|_| strange())? {
                Event::Start(start) if open.len() <= DEEPEST => open.push(Self::begun(&start)?),
                Event::Empty(empty) => end(&mut open, Self::begun(&empty)?)?,
                Event::End(_) => {
                    let ended = open.pop().ok_or_else(strange)?;
                    end(&mut open, ended)?;
                }
                Event::Text(text) => {
                    let text = text.xml_content(XmlVersion::Implicit1_0);
                    say(&mut open, &text.map_err(|_| strange())?)?;
                }
                Event::CData(text) => {
                    let text = text.xml_content(XmlVersion::Implicit1_0);
                    say(&mut open, &text.map_err(|_| strange())?)?;
                }
                Event::GeneralRef(reference) => say(&mut open, &resolved(&reference)?)?,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
                Event::Start(_) | Event::DocType(_) => return Err(strange()),
            }
        }
        let mut all = open.pop().filter(|_| open.is_empty()).ok_or_else(strange)?;
        match (all.children.pop(), all.children.is_empty()) {
            (Some(element), true) if element.name == root => Ok(element),
            _ => Err(strange()),
        }
    }

    fn begun(start: &BytesStart<'_>) -> Result<Self, Failed> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| strange());
        let mut element = Self {
            name: text(start.name().as_ref())?,
            ..Self::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| strange())?;
            let pair = (text(attribute.key.as_ref())?, text(&attribute.value)?);
            element.attributes.push(pair);
        }
        Ok(element)
    }

    /// What an attribute says, as it stands there.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        attributes
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first element of this name in it.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All elements of this name in it.
    pub(super) fn children<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn end(open: &mut [Element], ended: Element) -> Result<(), Failed> {
    let around = open.last_mut().ok_or_else(strange)?;
    around.children.push(ended);
    Ok(())
}

fn say(open: &mut [Element], text: &str) -> Result<(), Failed> {
    let around = open.last_mut().ok_or_else(strange)?;
    around.text.push_str(text);
    Ok(())
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, Failed> {
    if let Some(c) = reference.resolve_char_ref().map_err(|_| strange())? {
        return Ok(c.into());
    }
    let name = reference.decode().map_err(|_| strange())?;
    let text = resolve_predefined_entity(&name).ok_or_else(strange)?;
    Ok(text.to_owned())
}

pub(super) fn strange() -> Failed {
    Failed::stuck("the answer is not the XML that was expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_part_of_a_text() {
        let text = "\u{feff}<?xml version=\"1.0\"?><A><B c=\"d\"> a &amp;&#x2F;\n b </B><B/></A>";
        let all = Element::read(text, "A").unwrap();
        let texts: Vec<&str> = all.children("B").map(|b| b.text.as_str()).collect();
        assert_eq!(texts, [" a &/\n b ", ""]);
        assert_eq!(all.child("B").unwrap().attribute("c"), Some("d"));
    }

    #[test]
    fn what_is_no_such_answer_is_none() {
        let deep = "<A>".repeat(40) + &"</A>".repeat(40);
        for other in [
            "",
            "A",
            "<B/>",
            "<A>",
            "<A></B>",
            "<A/><A/>",
            "<A>&evil;</A>",
            "<!DOCTYPE a [<!ENTITY evil \"x\">]><A/>",
            deep.as_str(),
        ] {
            assert!(Element::read(other, "A").is_err(), "{other}");
        }
    }
}
